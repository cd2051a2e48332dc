"""Texts that were written to do harm do nothing in the page, served or exported, and the export needs nobody."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.export.html import MAX_TEXT, to_html
from rlm.trace.reader import Trace
from rlm.view import page_files
from rlm.view.server import ViewServer
from tests.view.conftest import QUESTION, Growing, Look, Played

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]
chromium = pytest.mark.chromium

EVIL = (
    "</script><script>window.hacked = 1; alert(1)</script><img src=x onerror='window.hacked = 2; alert(2)'>"
    "<svg onload=alert(3)>&lt;script&gt;{{7*7}}${7*7}<style>*{display:none}</style>\u2028\u2029<!--<script>"
    "javascript:alert(4) \x1b[31mred\x1b]0;title\x07 \u202eevil\u2066 a\x00b\x08 \ufeff\u200b \ud800"
)
LONG_LINE = "x" * 10_000_000
MANY_LINES = "line\n" * 300_000


@pytest.fixture
def hostile(growing: Growing) -> Trace:
    """A run in which every text is hostile."""
    growing.emit("notice", text=EVIL)
    growing.turn(1, code=EVIL, output=EVIL, said=EVIL, variables=[EVIL], notices=[EVIL])
    error = {"name": EVIL, "value": EVIL, "traceback": EVIL}
    growing.turn(2, code=f"print('''{EVIL}''')", output=LONG_LINE, status="error", error=error)
    growing.batch("0.b1", 3, prompt=EVIL, text=MANY_LINES)
    tool = {"name": EVIL, "arguments": EVIL, "output": EVIL, "failed": True, "seconds": 0.1}
    growing.emit("tool.completed", rollout="0", batch="0.b1", index=0, **tool)
    growing.emit("answer.changed", rollout="0", version=1, content=EVIL, ready=False)
    growing.emit("answer.changed", rollout="0", version=2, content=f"{EVIL}\n{EVIL}", ready=True)
    growing.emit("protocol.error", rollout="0", detail=EVIL)
    growing.emit("batch.started", rollout="0", batch="<img>", size=10**9, model=EVIL, kind=EVIL, max_tokens=1)
    return growing.end(EVIL)


def look_everywhere(page: Any) -> None:
    """Opens every node and everything that is folded away."""
    ids = page.evaluate("[...RLM.app.run.nodes.keys()]")
    assert len(ids) > 7
    for node in ids:
        page.evaluate("id => { location.hash = `#/run/${RLM.app.run.id}?node=${encodeURIComponent(id)}`; }", node)
        page.wait_for_timeout(30)
        page.evaluate("document.querySelectorAll('details.fold').forEach(fold => { fold.open = true; })")
        page.wait_for_timeout(30)
        assert page.evaluate("RLM.app.selected.id") == node
        assert page.evaluate("window.hacked") is None


def assert_harmless(page: Any) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main svg[onload], main script, main style").count() == 0
    text = page.locator("main").inner_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\x1b[31m" in text
    assert "\\u202e" in text
    assert "<img src=x" in text


@chromium
def test_hostile_texts_do_nothing_in_the_viewer(
    serve: Callable[[Path], ViewServer], look: Look, hostile: Trace
) -> None:
    page = look.open(serve(hostile.folder.parent).url(hostile.run_id))
    page.wait_for_selector("#main[data-state=over]")
    assert_harmless(page)
    look_everywhere(page)
    page.keyboard.press("/")
    page.keyboard.type("onerror=")
    page.wait_for_selector(".hit")
    assert page.locator(".found img").count() == 0
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None


@chromium
def test_the_page_stays_quick_with_endless_lines(
    serve: Callable[[Path], ViewServer], look: Look, hostile: Trace
) -> None:
    page = look.open(serve(hostile.folder.parent).url(hostile.run_id))
    page.wait_for_selector("#main[data-state=over]")
    for node, name, size in (("0/t2", "output", len(LONG_LINE)), ("b0.b1/0", "reply", len(MANY_LINES))):
        page.evaluate("id => { location.hash = `#/run/${RLM.app.run.id}?node=${encodeURIComponent(id)}`; }", node)
        box = page.locator(f".text[aria-label={name}]").last
        assert len(box.text_content()) < 5000
        box.locator("button", has_text="load all of it").click()
        box.locator("button", has_text="show all").wait_for()
        assert len(box.text_content()) < 50_000
        began = time.monotonic()
        box.locator("button", has_text="show all").click()
        box.locator("button").first.wait_for(state="detached")
        assert len(box.text_content()) >= size * 0.99
        page.keyboard.press("k")
        page.wait_for_selector(".card.head")
        # Some seconds of this are the check's own, which takes megabytes out of the browser.
        assert time.monotonic() - began < 12


@chromium
def test_hostile_texts_do_nothing_in_the_export(look: Look, hostile: Trace, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(to_html(hostile), encoding="utf-8")
    page = look.open(file.as_uri())
    page.wait_for_selector("#main[data-state=over]")
    assert_harmless(page)
    look_everywhere(page)


@chromium
def test_the_export_is_the_same_page_without_any_server(look: Look, played: Played, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(to_html(played.trace), encoding="utf-8")
    look.page.context.set_offline(True)
    page = look.open(file.as_uri())
    page.wait_for_selector("#main[data-state=over]")
    result = played.trace.result()
    assert result is not None
    assert page.locator(".answer .text").first.inner_text() == result["answer"]
    assert page.locator(".row").count() == 9
    assert page.locator("a.brand").count() == 0
    assert page.get_by_text("Compare").is_hidden()
    page.keyboard.press("/")
    page.keyboard.type("needle-in-a-blob needle")
    page.locator(".hit", has_text="the long one needle").click()
    page.wait_for_selector(".message-body")
    assert ("the long one " + "needle-in-a-blob " * 2000) in page.locator(".detail").text_content()
    assert page.locator(".detail button", has_text="load all").count() == 0
    page.keyboard.press("Escape")
    page.evaluate("location.hash = '#/?node=b0.b1'")
    page.wait_for_selector(".timeline[data-bars='42']")
    page.reload()
    page.wait_for_selector(".timeline[data-bars='42']")
    assert {url.partition(":")[0] for url in look.requests} <= {"file", "data"}
    assert {url.partition("#")[0] for url in look.requests if url.startswith("file:")} == {file.as_uri()}


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="rlm-trace">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_its_policy_allows_its_own_script_and_style_only(played: Played) -> None:
    page = to_html(played.trace)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    # The policy comes before all that it is about.
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script>")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:,)", page)


def test_no_text_can_leave_its_place_in_the_file(hostile: Trace) -> None:
    page = to_html(hostile)
    page.encode("utf-8")
    assert page.count("</script>") == 2
    assert "<img src=x" not in page
    assert "\u2028" not in page
    assert page_files.DATA_HERE not in page
    assert embedded(page)["events"][1]["text"] == EVIL


def test_texts_are_cut_at_a_limit_that_is_told(hostile: Trace) -> None:
    data = embedded(to_html(hostile))
    (cell,) = (e for e in data["events"] if e["type"] == "cell.completed" and e["turn"] == 2)
    kept = data["blobs"][cell["blobs"]["/output"]]
    assert kept == {"text": LONG_LINE[:MAX_TEXT], "length": len(LONG_LINE)}


def test_events_and_long_texts_are_there_and_prices_too(played: Played) -> None:
    data = embedded(to_html(played.trace))
    assert [event["type"] for event in data["events"]] == [event["type"] for event in played.trace.events()]
    assert data["prices"]["root"] == pytest.approx([2e-6, 8e-6, 2e-6])
    assert data["run_id"] == played.trace.run_id


def test_what_is_redacted_is_nowhere_in_the_file(played: Played) -> None:
    def redact(event: Any) -> Any:
        text = json.dumps(event).replace("needle-in-a-blob", "[redacted]").replace(QUESTION, "[redacted]")
        return json.loads(text)

    page = to_html(played.trace, redact=redact)
    assert "needle-in-a-blob" not in page
    assert QUESTION not in page
    assert "the long one [redacted]" in page
