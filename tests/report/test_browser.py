"""Pages in a headless Chromium: figures, controls, keyboard, narrow screens, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sif.report import compare_page, write_page
from tests.report.conftest import (
    NASTY,
    cell_documents,
    order_documents,
    rolling_documents,
    run_documents,
    written,
)

WAIT = 180_000
"""Milliseconds on a busy machine."""
pytestmark = pytest.mark.slow  # a browser takes a second to start, and one to draw a page
NARROW = {"width": 360, "height": 700}


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """A page once its figures are drawn, and what went wrong: console and addresses asked for."""
    context = browser.new_context(offline=True, **options)
    page, wrong = context.new_page(), list[str]()
    page.set_default_timeout(WAIT)

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            wrong.append(f"request: {request.url}")

    def told(message: Any) -> None:
        if message.type in ("error", "warning"):
            wrong.append(f"{message.type}: {message.text}")

    page.on("request", asked)
    page.on("console", told)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.goto(path.as_uri(), wait_until="commit", timeout=WAIT)
    page.wait_for_selector("html[data-ready]", state="attached")
    return page, wrong


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(written(tmp_path_factory.mktemp("pages") / "run", run_documents()))


@pytest.fixture(scope="module")
def looked_at(browser: Any, path: Path) -> Iterator[tuple[Any, list[str]]]:
    """A page that several tests look at, each with controls of its own."""
    page, wrong = opened(browser, path)
    yield page, wrong
    page.context.close()


Looked = tuple[Any, list[str]]


def test_all_figures_are_drawn_and_nothing_is_asked_for(looked_at: Looked) -> None:
    page, wrong = looked_at
    assert page.locator(".chart").count() == page.locator(".chart svg").count() == 13
    assert page.locator("#chart-tried .mark-symbol path").count() == 3
    assert wrong == []


def test_a_point_tells_its_name_and_its_details(looked_at: Looked) -> None:
    page, wrong = looked_at
    point = page.locator("#chart-tried .mark-symbol path").nth(1)
    point.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "history, id, multiply" in page.inner_text("#vg-tooltip-element")
    point.click()
    page.wait_for_selector("#tried-details dl")
    details = page.inner_text("#tried-details")
    assert "history, id, multiply" in details
    assert "encoding user\nhistory" in details
    assert page.eval_on_selector("#tried-list", "node => node.value") == "2"
    assert wrong == []


def test_designs_of_grids_have_the_colors_of_their_models(browser: Any, tmp_path: Path) -> None:
    documents = run_documents()
    documents["report.json"]["models"][1]["tried"] = [
        {"name": NASTY, "value": 0.28, "seconds": 1.0},
        {"name": "l2 1", "value": 0.9, "seconds": 2.0, "users": 200},
    ]
    page, wrong = opened(browser, write_page(written(tmp_path, documents)))
    page.select_option("#tried-set", label="every design and setting of all models")
    page.wait_for_selector("#chart-tried .role-legend-label")
    labels = page.locator("#chart-tried .role-legend-label text").all_text_contents()
    assert set(labels) == {"searched", "ease", "popularity"}
    assert "Faint points" in page.inner_text("#tried-note")
    # What some users judged comes last, however good.
    assert "l2 1" in page.locator("#tried-list option").last.inner_text()
    page.focus("#tried-list")
    page.keyboard.press("End")
    assert "judged by\n200 users" in page.inner_text("#tried-details")
    assert wrong == []
    page.context.close()


def test_choices_become_a_setting(looked_at: Looked) -> None:
    page, wrong = looked_at
    assert page.inner_text("#set-line") == "everything is kept"
    page.uncheck('fieldset[data-block="encoding"] input[value="both"]')
    assert page.inner_text("#set-line") == "--set 'search.choices.encoding=[id, history]'"
    page.wait_for_function(
        "() => document.querySelectorAll('#chart-tried .mark-symbol [opacity=\"0.1\"]').length == 1"
    )
    page.uncheck('fieldset[data-block="encoding"] input[value="history"]')
    last = page.locator('fieldset[data-block="encoding"] input[value="id"]')
    assert last.is_disabled()  # a choice has to be left
    assert page.is_enabled("#copy-set")
    for name in ("both", "history"):
        page.check(f'fieldset[data-block="encoding"] input[value="{name}"]')
    assert page.inner_text("#set-line") == "everything is kept"
    assert wrong == []


def test_another_set_of_candidates_is_drawn(looked_at: Looked) -> None:
    page, wrong = looked_at
    page.select_option("#tried-set", label="models that were trained")
    page.wait_for_function(
        "() => document.querySelector('#chart-tried').textContent.includes('valid ndcg@10')"
    )
    assert page.locator("#tried-list option").all_inner_texts()[0] == "0.3 searched"
    page.select_option("#tried-set", index=0)
    assert wrong == []


def test_the_keyboard_reaches_every_control(looked_at: Looked) -> None:
    page, wrong = looked_at
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(
            "() => document.activeElement.id || document.activeElement.className"
            " || document.activeElement.tagName"
        ))  # fmt: skip
    expected = {"skip", "theme", "tried-set", "tried-size", "tried-list", "alpha-choice",
                "set-line", "all-settings", "scroll", "SUMMARY"}  # fmt: skip
    assert expected <= reached
    page.focus("#tried-list")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "quality" not in page.inner_text("#tried-details h4")
    assert page.locator("#tried-details dd").count() > 3
    assert wrong == []


def test_light_and_dark_follow_the_system_and_the_button(browser: Any, path: Path) -> None:
    page, wrong = opened(browser, path, color_scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    label = "() => getComputedStyle(document.querySelector('#chart-validation text')).fill"
    assert page.evaluate(ground) == "rgb(20, 23, 27)"
    dark = page.evaluate(label)
    page.click("#theme")  # from that of the system to light
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate(label) != dark  # figures change, too
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: dark"
    assert page.evaluate(ground) == "rgb(20, 23, 27)"
    assert wrong == []
    page.context.close()


@pytest.mark.parametrize("kind", ["run", "cells", "compared", "order", "rolling"])
def test_a_narrow_screen_has_no_overflow(
    kind: str, browser: Any, path: Path, tmp_path: Path
) -> None:  # fmt: skip
    shown = path
    if kind == "cells":
        shown = write_page(written(tmp_path / "cells", cell_documents()))
    if kind == "order":
        shown = write_page(written(tmp_path / "order", order_documents()))
    if kind == "rolling":
        shown = write_page(written(tmp_path / "rolling", rolling_documents()))
    if kind == "compared":
        cells = written(tmp_path / "cells", cell_documents())
        shown = compare_page([path.parent, cells], tmp_path / "c.html")
    page, wrong = opened(browser, shown, viewport=NARROW)
    assert page.evaluate("() => document.documentElement.scrollWidth") == NARROW["width"]
    assert wrong == []
    page.context.close()


def test_everything_is_printed(browser: Any, path: Path) -> None:
    page, wrong = opened(browser, path)
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert not page.is_visible("nav")
    assert wrong == []
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_tables_of_the_test_fit(width: int, scheme: str, browser: Any, tmp_path: Path) -> None:
    documents = run_documents()
    names = (f"{name}@{cut}" for name in ("recall", "ndcg", "map", "mrr") for cut in (10, 20))
    row = dict.fromkeys(names, "0.1234")
    for one in documents["report.json"]["models"]:
        one["row"] |= row
        one["expression"] = "multiply(history(user), item) of many words " * 4
    size = {"width": width, "height": 800}
    shown = write_page(written(tmp_path / "run", documents))
    page, wrong = opened(browser, shown, viewport=size, color_scheme=scheme)
    sizes = page.evaluate(
        "() => [...document.querySelectorAll('#test .scroll')].map("
        "node => [node.scrollWidth, node.clientWidth])"
    )
    assert len(sizes) == 2 and all(inner <= outer for inner, outer in sizes)
    assert page.is_visible("#test td[data-label='recall@10']")
    assert wrong == []
    page.context.close()
