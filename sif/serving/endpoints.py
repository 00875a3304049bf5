"""The endpoints of the server, described by FastAPI."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address
from time import monotonic
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sif.recommender.item_precision import precision_of
from sif.serving import arrow, replies
from sif.serving.batching import Kind, Worker, Write
from sif.serving.changes import Changes
from sif.serving.forms import MOST_ITEMS, Body, Refused
from sif.serving.front import BODY, Endpoint, Front, answered, error
from sif.serving.metrics import Metrics
from sif.serving.page import page
from sif.serving.questions import (
    COUNT,
    MOST_ANSWERS,
    EventsBody,
    ExplainQuestion,
    ItemsBody,
    RecommendBody,
    RecommendQuestion,
    SimilarBody,
    SimilarQuestion,
    UsersBody,
    checked,
    parsed,
)
from sif.serving.replies import JSON
from sif.serving.rules import MOST_RERANKED
from sif.utils.version import __version__

_REFERENCE = "#/components/schemas/{model}"
_BODIES = (RecommendBody, SimilarBody, ExplainQuestion, EventsBody, ItemsBody, UsersBody)
_COUNT = {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": COUNT}
_SEEN = {"type": "string", "enum": ["true", "false", "all", "trained", "none"]}
_TEXT = {"type": "string"}


class Route(APIRoute):
    """A route whose endpoint reads and checks its request itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint, whose refusals become replies."""

        async def handler(request: Request) -> Response:
            return await answered(self.endpoint, request)

        return handler


class Endpoints:
    """The endpoints of a server.

    Args:
        changes: Has the model, and changes it.
        worker: Answers.
        metrics: Are shown.
        may_reload: Whether any client may have the model loaded again; False: those of this
            machine.
    """

    def __init__(
        self, changes: Changes, worker: Worker, metrics: Metrics, may_reload: bool
    ) -> None:
        self._changes, self._worker, self._metrics = changes, worker, metrics
        self._may_reload, self._since = may_reload, monotonic()
        self._described: dict[str, Any] = {}

    def front(self, most_bytes: int) -> Front:
        """The application.

        Args:
            most_bytes: Of a body.
        """
        app = FastAPI(
            title="sif", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
            description="Answers of a saved recommender.", redirect_slashes=False,
        )  # fmt: skip
        app.router.route_class = Route
        self._add_to(app)
        app.add_exception_handler(HTTPException, _no_endpoint)
        self._described = {**app.openapi(), "components": {"schemas": _schemas()}}
        paths = frozenset(route.path for route in app.routes if isinstance(route, APIRoute))
        hot: dict[tuple[str, str], Endpoint] = {("POST", "/recommend"): self.recommend}
        return Front(app, hot, paths, most_bytes, self._metrics)

    def _add_to(self, app: FastAPI) -> None:
        add = app.add_api_route
        options = _parameters(n=_COUNT, exclude_seen=_SEEN)
        asked = _parameters(item=_TEXT, user=_TEXT, n=_COUNT)
        add(
            "/recommend", self.recommend, methods=["POST"],
            openapi_extra=_described(RecommendBody, options, arrow_too=True),
        )  # fmt: skip
        add("/similar", self.similar_get, methods=["GET"], openapi_extra=_described(None, asked))
        add("/similar", self.similar, methods=["POST"], openapi_extra=_described(SimilarBody))
        add("/explain", self.explain, methods=["POST"], openapi_extra=_described(ExplainQuestion))
        add("/events", self.events, methods=["POST"], openapi_extra=_described(EventsBody))
        add("/items", self.items, methods=["POST"], openapi_extra=_described(ItemsBody))
        add("/users", self.users, methods=["POST"], openapi_extra=_described(UsersBody))
        add("/reload", self.reload, methods=["POST"], openapi_extra=_described(None))
        add("/health", self.health, methods=["GET"], openapi_extra=_described(None))
        add("/metrics", self.metrics, methods=["GET"], openapi_extra=_described(None))
        add("/openapi.json", self.openapi, methods=["GET"], include_in_schema=False)
        add("/docs", self.docs, methods=["GET"], include_in_schema=False)

    async def recommend(self, request: Request) -> Response:
        """The best items for a user or a history, or for several of them."""
        kind, body = _media_type(request), request.scope[BODY]
        accepted = request.headers.get("accept", "")
        in_arrow = arrow.ARROW in accepted or (kind == arrow.ARROW and JSON not in accepted)
        if kind == arrow.ARROW:
            usual = checked(RecommendQuestion, _query(request, ("n", "exclude_seen")))
            questions, single = arrow.questions(body, usual), False
        else:
            _expect_json(kind, arrow.ARROW)
            _query(request, ())
            questions, single = _listed(parsed(RecommendBody, body), RecommendQuestion)
        with_rules = sum(bool(question.rerank) for question in questions)
        if with_rules > MOST_RERANKED:
            raise Refused(
                422, f"expected at most {MOST_RERANKED:,} questions with rerank, found "
                f"{with_rules:,}",
            )  # fmt: skip
        items = len(self._changes.answering.model.vocabularies[1])
        _refuse_long([min(question.n, items) for question in questions], "items")
        write: Write = arrow.table if in_arrow else replies.one if single else replies.several
        return await self._answer("recommend", questions, write, arrow.ARROW if in_arrow else JSON)

    async def similar(self, request: Request) -> Response:
        """Items like an item, or users like a user, with cosines; one question or several."""
        _expect_json(_media_type(request))
        _query(request, ())
        questions, single = _listed(parsed(SimilarBody, request.scope[BODY]), SimilarQuestion)
        return await self._similar(questions, single)

    async def similar_get(self, request: Request) -> Response:
        """Items like an item, or users like a user, with cosines."""
        asked = checked(SimilarQuestion, _query(request, ("item", "user", "n")))
        return await self._similar([asked], True)

    async def _similar(self, questions: list[Any], single: bool) -> Response:
        names = self._changes.answering.model.vocabularies
        counts = [min(q.n, len(names[q.item is not None])) for q in questions]
        _refuse_long(counts, "neighbors")
        write = replies.one if single else replies.several
        return await self._answer("similar", questions, write, JSON)

    async def explain(self, request: Request) -> Response:
        """The items of a user that carry the score of an item, most first."""
        _expect_json(_media_type(request))
        _query(request, ())
        question = parsed(ExplainQuestion, request.scope[BODY])
        return await self._answer("explain", [question], replies.one, JSON)

    async def events(self, request: Request) -> Response:
        """Takes interactions in; answers after the reply know of them."""
        _expect_json(_media_type(request))
        _query(request, ())
        events = parsed(EventsBody, request.scope[BODY]).events
        return _json(await self._changes.take_in(events))

    async def items(self, request: Request) -> Response:
        """Takes items in by their features; answers after the reply have them."""
        _expect_json(_media_type(request))
        _query(request, ())
        items = parsed(ItemsBody, request.scope[BODY]).items
        return _json(await self._changes.take_in(items))

    async def users(self, request: Request) -> Response:
        """Takes users in by their features; answers after the reply know them."""
        _expect_json(_media_type(request))
        _query(request, ())
        users = parsed(UsersBody, request.scope[BODY]).users
        return _json(await self._changes.take_in(users))

    async def reload(self, request: Request) -> Response:
        """Loads the model that the folder has now; the one before goes on if it is broken."""
        if not self._may_reload and not _is_local(request):
            raise Refused(403, "reload: expected a client of this machine, found another")
        return _json(await self._changes.reload())

    async def health(self, _: Request) -> Response:
        """The model that answers, and how the server is."""
        changes, answering = self._changes, self._changes.answering
        users, items = (len(names) for names in answering.model.vocabularies[:2])
        return _json(
            {
                "status": "ok",
                "version": answering.version,
                "expression": answering.model.expression,
                "objective": answering.model.objective,
                "users": users,
                "items": items,
                "events": changes.events,
                "rows_since_fit": answering.model.folding.rows,
                "fit_again": answering.drift.fit_again,
                "precision": precision_of(answering.model.trained),
                "waiting": self._worker.waiting,
                "uptime_seconds": round(monotonic() - self._since, 3),
                "last_reload_failure": changes.last_failure or None,
            }
        )

    async def metrics(self, _: Request) -> Response:
        """Counts and times, as Prometheus reads them."""
        text = self._metrics.text(self._worker.waiting)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        """This interface as OpenAPI describes it."""
        return _json(self._described)

    async def docs(self, _: Request) -> Response:
        """This interface as a page that asks for nothing else."""
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(self._page, headers={"content-security-policy": policy})

    @cached_property
    def _page(self) -> str:
        return page(self._described)

    async def _answer(
        self, kind: Kind, questions: list[Any], write: Write, media_type: str
    ) -> Response:
        body = await self._worker.body(kind, questions, write)
        return Response(body, media_type=media_type)


def _json(value: Mapping[str, Any]) -> Response:
    return Response(to_json(value), media_type=JSON)


async def _no_endpoint(request: Request, found: Exception) -> Response:
    """The reply where no endpoint fits: another path, or another method."""
    assert isinstance(found, HTTPException)  # noqa: S101
    path = request.url.path
    line = f"{path}: {found.detail}; GET /docs lists the endpoints"
    return error(Refused(found.status_code, line, found.headers))


def _listed(body: Any, kind: type[Body]) -> tuple[list[Any], bool]:
    """The questions of a body, and whether it is a single one."""
    if body.questions is None:
        return [body], True
    others = sorted(body.model_fields_set - {"questions"})
    if others:
        raise Refused(422, f"{others[0]}: expected in each of the questions, found beside them")
    return body.questions, False


def _refuse_long(counts: Sequence[int], kind: str) -> None:
    """Refuses a request whose reply would be too long.

    Args:
        counts: Items or neighbors of each answer, at most.
        kind: What these are.
    """
    total = sum(counts)
    if total > MOST_ANSWERS:
        raise Refused(
            422, f"expected at most {MOST_ANSWERS:,} {kind} in all answers together, found "
            f"{total:,} ({len(counts):,} questions, each for up to {max(counts):,}): ask fewer "
            "questions at once, or for a smaller n",
        )  # fmt: skip


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _expect_json(kind: str, *others: str) -> None:
    """Also keeps pages of other sites out: browsers let them send everything but JSON unasked."""
    if kind != JSON:
        expected = " or ".join((JSON, *others))
        raise Refused(415, f"Content-Type: expected {expected}, found {kind or 'none'}")


def _query(request: Request, names: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of an address as values; unknown and repeated ones are refused."""
    if not request.scope["query_string"]:
        return {}
    values: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in names or name in values:
            known = f"one of {', '.join(names)}, once" if names else "none"
            raise Refused(422, f"address: expected {known}, found the parameter {name[:40]!r}")
        values[name] = text
    if "n" in values and values["n"].isdecimal() and len(values["n"]) < 10:
        values["n"] = int(values["n"])
    seen = values.get("exclude_seen")
    if seen in ("true", "false"):
        values["exclude_seen"] = seen == "true"
    return values


def _is_local(request: Request) -> bool:
    """True for a client of this machine; behind a proxy nobody can be told to be one."""
    if request.client is None or {"forwarded", "x-forwarded-for"} & set(request.headers.keys()):
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


# The description


def _parameters(**kinds: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": kind} for name, kind in kinds.items()]


def _described(
    body: type[Body] | None, parameters: list[dict[str, Any]] | None = None, arrow_too: bool = False
) -> dict[str, Any]:
    """Parts that FastAPI cannot see of an endpoint that reads its request itself."""
    found: dict[str, Any] = {"parameters": parameters or []}
    if body is not None:
        content: dict[str, Any] = {
            JSON: {"schema": {"$ref": _REFERENCE.format(model=body.__name__)}}
        }
        if arrow_too:
            content[arrow.ARROW] = {"schema": {"type": "string", "format": "binary"}}
        found["requestBody"] = {"required": True, "content": content}
    refusal = {"content": {JSON: {"schema": {"$ref": _REFERENCE.format(model="Error")}}}}
    found["responses"] = {"4XX": {"description": "One line that says what was wrong", **refusal}}
    return found


def _schemas() -> dict[str, Any]:
    """Schemas of the bodies by their names."""
    pairs = [(kind, "validation") for kind in _BODIES]
    _, found = models_json_schema(pairs, ref_template=_REFERENCE)  # type: ignore[arg-type]
    error_of = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
    return {**found["$defs"], "Error": error_of}
