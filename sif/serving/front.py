"""The gate that every request passes first: limits, times, counts; the short way to one endpoint.

FastAPI routes and describes the endpoints. Its way to one costs more than the answer, so that the
endpoint that gets nearly all requests is called directly, by the same function.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from sif.serving.forms import Refused
from sif.serving.metrics import Metrics
from sif.serving.replies import JSON

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Endpoint = Callable[[Request], Awaitable[Response]]

BODY = "sif.body"
"""Key of a request's scope under which endpoints find its body."""
SECONDS = 30.0
"""A body has to be there after so long."""

_logger = logging.getLogger("sif.serving")


def error(refused: Refused) -> Response:
    """A refusal as a reply."""
    body = to_json({"error": refused.line})
    return Response(body, refused.status, refused.headers, media_type=JSON)


async def answered(endpoint: Endpoint, request: Request) -> Response:
    """The reply of an endpoint, or its refusal; a fault of ours is a line, and in the log."""
    try:
        return await endpoint(request)
    except Refused as refused:
        return error(refused)
    except Exception:
        _logger.exception("%s %s failed", request.method, request.url.path)
        return error(Refused(500, "the request could not be answered"))


class Front:
    """The application that uvicorn calls.

    Args:
        rest: FastAPI's application, for all that is not hot.
        hot: Endpoints by method and path that are called directly.
        paths: Of the endpoints, for metrics.
        most_bytes: Of a body.
        metrics: Are told of every reply.

    Attributes:
        closing: True once the server ends: every reply then asks for its connection to be closed.
    """

    def __init__(
        self, rest: Any, hot: Mapping[tuple[str, str], Endpoint], paths: frozenset[str],
        most_bytes: int, metrics: Metrics,
    ) -> None:  # fmt: skip
        self._rest, self._hot, self._paths = rest, hot, paths
        self._most_bytes, self._metrics = most_bytes, metrics
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        start, reply = perf_counter(), _Reply(send, self)
        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            scope[BODY] = await self._body(scope, receive)
            endpoint = self._hot.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._rest(scope, receive, reply)
            else:
                response = await answered(endpoint, Request(scope))
                await response(scope, receive, reply)
        except Refused as refused:
            await error(refused)(scope, receive, reply)
        except _Gone:
            return
        except asyncio.CancelledError:  # the time in which the server may end is over
            leaving = Refused(503, "the server ends", {"connection": "close"})
            await error(leaving)(scope, receive, reply)
        self._metrics.replied(path, reply.status, perf_counter() - start)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, of which never more than the limit is held.

        Raises:
            Refused: 413 for too large a one, 408 for one that does not come.
            _Gone: The client went away.
        """
        most = self._most_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > most:
                raise self._too_large()
        message = await _within(receive, SECONDS)
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > most:
                raise self._too_large()
            return body
        parts, size = [body], len(body)
        end = perf_counter() + SECONDS
        while message.get("more_body"):
            if size > most:
                raise self._too_large()
            message = await _within(receive, end - perf_counter())
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > most:
            raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"body: expected at most {self._most_bytes:,} bytes, found more")


class _Gone(Exception):
    """The client went away before its request was whole."""


async def _within(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    """The next piece of a request."""
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        raise Refused(
            408, f"body: expected within {SECONDS:.0f} s, found a part", {"connection": "close"}
        ) from None
    if message["type"] == "http.disconnect":
        raise _Gone
    return message


class _Reply:
    """Sends a reply on, and keeps its status."""

    def __init__(self, send: Send, front: Front) -> None:
        self._send, self._front, self.status = send, front, 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._front.closing:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)
