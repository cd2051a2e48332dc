"""The page, in a real browser: what it shows of a run, and how one moves in it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.trace.reader import Trace
from rlm.view.server import ViewServer
from tests.view.conftest import CALLS, QUESTION, Growing, Look, Played, cell, play

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(110)]

Open = Callable[..., Any]


@pytest.fixture
def open_run(serve: Callable[[Path], ViewServer], look: Look, played: Played) -> Open:
    """Opens a run, at a node if one is named."""

    def open_(node: str = "", trace: Trace = played.trace, state: str = "over") -> Any:
        url = serve(trace.folder.parent).url(trace.run_id)
        page = look.open(url + (f"?node={node}" if node else ""))
        page.wait_for_selector(f"#main[data-state={state}]")
        return page

    return open_


def rows(page: Any) -> list[str]:
    return [str(row) for row in page.locator(".row .label b").all_inner_texts()]


def until(page: Any, condition: str) -> None:
    """Waits for a condition in the page. (Playwright's own way needs `eval`, which the page forbids.)"""
    deadline = time.monotonic() + 8
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def selected(page: Any) -> str:
    return str(page.locator(".row[aria-selected=true]").get_attribute("data-id"))


def figure(page: Any, name: str) -> str:
    box = page.locator(".detail .card.head .figure", has=page.get_by_text(name, exact=True))
    return str(box.locator(".figure-value").inner_text())


def messages(page: Any) -> list[tuple[str, str]]:
    """Roles and texts of the messages that are shown."""
    page.wait_for_selector(".message")
    found = page.locator(".message").evaluate_all(
        "all => all.map(m => [m.dataset.role, [...m.querySelectorAll('.text')].map(t => t.textContent).join('')])"
    )
    return [(role, text) for role, text in found]


def sent(request: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"] or "") for message in request.messages]


def test_the_tree_and_its_totals(open_run: Open, played: Played) -> None:
    page = open_run()
    assert rows(page) == ["Root", "Turn 1", "Turn 2", "42 calls", "Turn 3", "Turn 4", "2 children", "1 call", "Turn 5"]
    result = played.trace.result()
    assert result is not None
    usage = result["usage"]
    total = sum(usage[who][kind] for who in ("root", "sub") for kind in ("input_tokens", "output_tokens"))
    shown = page.evaluate("(({input, output, cost}) => [input + output, cost])(RLM.app.run.root.total)")
    assert shown == [total, pytest.approx(result["cost"])]
    told = page.locator(".row").first.locator(".tokens").get_attribute("title")
    sides = [sum(usage[who][kind] for who in usage) for kind in ("input_tokens", "output_tokens")]
    assert told == f"{sides[0]:,} tokens in, {sides[1]:,} out"
    assert figure(page, "Status") == "answered"
    assert figure(page, "Turns") == "5"
    assert figure(page, "Cost") == f"{result['cost']:.4f}"
    assert page.locator(".answer .text").first.inner_text() == result["answer"]
    assert page.title().startswith(QUESTION)


def test_each_node_sums_up_what_is_below_it(open_run: Open) -> None:
    page = open_run()
    wrong = page.evaluate(
        """[...RLM.app.run.nodes.values()].filter(node => {
            const below = node.children.reduce((sum, child) => sum + child.total.input + child.total.output, 0);
            return node.total.input + node.total.output !== below + node.own.input + node.own.output;
        }).map(node => node.id)"""
    )
    assert wrong == []


def test_costs_without_prices_are_not_known(open_run: Open, other: Played) -> None:
    page = open_run(trace=other.trace)
    assert figure(page, "Cost") == "n/a"
    assert page.locator(".row .cost").first.inner_text() == "n/a"


def test_a_turn_shows_what_was_said_done_and_printed(open_run: Open) -> None:
    page = open_run("0/t3")
    text = page.locator(".detail").inner_text()
    assert "This one fails." in text
    assert page.locator(".code").first.text_content() == (
        "known = {'Acme': 1900}\nprint('before the error')\nprint(known['Crane'])"
    )
    assert page.locator("[aria-label=output]").inner_text() == "before the error"
    assert "KeyError: 'Crane'" in page.locator(".error").inner_text()
    assert page.locator(".chip").all_inner_texts() == ["known"]
    assert figure(page, "Status") == "error"


def test_the_messages_of_each_root_request_are_those_that_were_sent(open_run: Open, played: Played) -> None:
    requests = played.sent("root")
    assert len(requests) == 5
    page = open_run("0/t1")
    for turn, request in enumerate(requests, 1):
        page.evaluate(f"location.hash = '#/run/' + RLM.app.run.id + '?node=0/t{turn}'")
        page.wait_for_selector(f"[data-id='0/t{turn}'][aria-selected=true]")
        page.locator("summary", has_text="Messages sent").click()
        page.wait_for_selector(".message")
        if turn > 1:
            page.locator("summary", has_text="as in the request before").click()
            page.wait_for_selector(".message[data-role=system]")
        for button in page.locator(".message button", has_text="show all").all():
            button.click()
        assert messages(page) == sent(request)


@pytest.mark.parametrize(
    ("node", "prompt"),
    [
        ("b0.b1/7", "part 7: 1914"),
        (f"b0.b1/{CALLS}", "a bad one"),
        (f"b0.b1/{CALLS + 1}", "look it up"),
        ("b0.b3/0", "the long one"),
    ],
)
def test_the_messages_of_a_sub_call_are_those_that_were_sent(
    open_run: Open, played: Played, node: str, prompt: str
) -> None:
    request = [r for r in played.sent("sub") if any(prompt in (m["content"] or "") for m in r.messages)][-1]
    page = open_run(node)
    if "long" in prompt:
        page.locator(".message button", has_text="load all of it").click()
        page.locator(".message button").wait_for(state="detached")
    assert messages(page) == sent(request)


def test_a_call_with_tools(open_run: Open) -> None:
    page = open_run(f"b0.b1/{CALLS + 1}")
    assert page.locator(".tool-call code").inner_text() == 'search({"query": "crane"})'
    assert page.locator("[aria-label=output]").inner_text() == '["nothing about crane"]'
    page.locator(".row[aria-selected=true] .twist").click()
    assert "search" in rows(page)


def test_a_child_is_a_rollout_of_its_own(open_run: Open, played: Played) -> None:
    page = open_run("b0.b2/0")
    assert page.locator("[aria-label=query]").inner_text() == "the first half?"
    assert figure(page, "Turns") == "2"
    assert figure(page, "Status") == "answered"
    page.keyboard.press("ArrowRight")
    below = page.locator(".row").evaluate_all("all => all.map(row => row.dataset.id)")
    assert {"0.1/t1", "0.1/t2"} <= set(below)
    page.locator("table.turns tr.pick").first.click()
    assert selected(page) == "0.1/t1"
    page.locator("summary", has_text="Messages sent").click()
    page.wait_for_selector(".message")
    first = next(r for r in played.sent("child") if "the first half?" in str(r.messages))
    for button in page.locator(".message button", has_text="show all").all():
        button.click()
    assert messages(page) == sent(first)


COUNT_BARS = """box => {
    const canvas = box.querySelector('.timeline-rows');
    const brush = canvas.getContext('2d');
    const scroller = box.querySelector('.timeline-scroll');
    const step = box.querySelector('.timeline-space').clientHeight / Number(box.dataset.bars);
    const style = document.createElement('i');
    document.body.append(style);
    const rgb = name => {
        style.style.color = `var(--bar-${name})`;
        return getComputedStyle(style).color.match(/\\d+/g).map(Number).slice(0, 3);
    };
    const colours = {ok: rgb('ok'), failed: rgb('failed'), cached: rgb('cached')};
    const seen = {ok: 0, failed: 0, cached: 0};
    for (let n = 0; (n + 1) * step <= scroller.clientHeight; n += 1) {
        const line = brush.getImageData(44, Math.floor((n + 0.5) * step), canvas.width - 44, 1).data;
        for (const [name, [r, g, b]] of Object.entries(colours)) {
            for (let x = 0; x < line.length; x += 4) {
                if (line[x] === r && line[x + 1] === g && line[x + 2] === b) {
                    seen[name] += 1;
                    break;
                }
            }
        }
    }
    style.remove();
    return seen;
}"""


def test_a_batch_is_a_timeline_with_a_bar_for_each_call(open_run: Open) -> None:
    page = open_run("b0.b1")
    box = page.locator(".timeline")
    assert box.get_attribute("data-bars") == "42"
    in_sight = 340 // 10
    assert box.evaluate(COUNT_BARS)["ok"] == in_sight
    page.locator(".timeline-scroll").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    page.wait_for_timeout(100)
    assert box.evaluate(COUNT_BARS)["failed"] == 1
    assert "waiting for a place" in page.locator(".legend").inner_text()
    assert figure(page, "Failed") == "1"
    assert "this prompt is refused" in page.locator(".detail").inner_text()


def test_a_click_on_a_bar_opens_its_call(open_run: Open) -> None:
    page = open_run("b0.b1")
    order = page.evaluate("RLM.bars(RLM.app.run.nodes.get('b0.b1')).bars.map(bar => bar.call.id)")
    box = page.locator(".timeline-scroll").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 35)
    assert page.locator(".timeline-tip").inner_text().startswith(f"#{order[3].partition('/')[2]} ok")
    page.mouse.click(box["x"] + 100, box["y"] + 35)
    assert selected(page) == order[3]
    assert page.locator(".detail .pill").first.inner_text() == "ok"


def test_waiting_and_running_are_told_apart(open_run: Open, played: Played) -> None:
    page = open_run("b0.b1")
    bars = page.evaluate(
        "RLM.bars(RLM.app.run.nodes.get('b0.b1')).bars.map(b => [b.call.index, b.start, b.begun, b.end])"
    )
    events = {e["index"]: e for e in played.trace.events() if e["type"] == "call.completed" and e["batch"] == "0.b1"}
    for index, start, begun, end in bars:
        assert begun - start == pytest.approx(events[index]["waited"], abs=1e-5)
        assert end - start == pytest.approx(events[index]["seconds"], abs=1e-5)


def test_five_thousand_calls(open_run: Open, growing: Growing, look: Look) -> None:
    growing.turn(1)
    growing.batch("0.b1", 5000, lanes=64)
    page = open_run("b0.b1", trace=growing.end())
    page.wait_for_selector(".timeline[data-bars='5000']")
    assert page.locator(".timeline").evaluate(COUNT_BARS)["ok"] >= 50
    assert "at most 64 at once" in page.locator(".legend").inner_text()
    page.keyboard.press("Enter")
    assert page.locator(".row").count() < 100
    took = page.evaluate("() => { const t = performance.now(); RLM.app.run.root; return t; }")
    page.keyboard.press("G")
    assert selected(page) == "b0.b1/4999"
    assert page.evaluate("performance.now()") - took < 3000


def test_the_answer_as_it_changed(open_run: Open) -> None:
    page = open_run()
    page.locator("summary", has_text="How it changed").click()
    changes = page.locator(".change")
    assert changes.count() == 4
    second = changes.nth(1)
    assert second.locator(".gone").all_inner_texts() == ["\u2212\nNothing is known yet."]
    assert second.locator(".new").all_inner_texts() == ["+\nBolt & Sons supplies Acme."]
    assert second.locator(".same").count() == 2
    third = changes.nth(2)
    assert third.locator(".new mark").all_inner_texts() == [" since 1900"]
    assert "no change in the text" in changes.nth(3).inner_text()
    changes.nth(2).locator("button").click()
    assert selected(page) == "0/t5"


def test_changes_are_the_fewest_and_lead_from_one_text_to_the_other(open_run: Open) -> None:
    page = open_run()
    chance = random.Random(7)
    pairs = [["".join(chance.choices("abc", k=chance.randrange(9))) for _ in "ab"] for _ in range(500)]
    found = page.evaluate("pairs => pairs.map(([a, b]) => RLM.edits([...a], [...b]))", pairs)
    for (old, new), edits in zip(pairs, found, strict=True):
        assert "".join(item for kind, item in edits if kind != "new") == old
        assert "".join(item for kind, item in edits if kind != "gone") == new
        assert sum(kind == "same" for kind, _ in edits) == longest_common(old, new)
    assert page.evaluate("RLM.edits([...Array(4000).keys()], [...Array(4000).keys()].reverse())") is None


def longest_common(a: str, b: str) -> int:
    best = [0] * (len(b) + 1)
    for x in a:
        best = [0, *(0 for _ in b)] if not best else _next_row(best, x, b)
    return best[-1]


def _next_row(before: list[int], x: str, b: str) -> list[int]:
    row = [0]
    for n, y in enumerate(b):
        row.append(before[n] + 1 if x == y else max(before[n + 1], row[-1]))
    return row


def test_search_finds_prompts_outputs_and_long_texts_and_leads_there(open_run: Open) -> None:
    page = open_run()
    page.keyboard.press("/")
    page.keyboard.type("before the error")
    page.wait_for_selector(".hit")
    assert page.locator(".hit mark").first.inner_text() == "before the error"
    page.locator(".hit-head", has_text="message sent").last.wait_for()  # found last, and drawn when it is
    found = page.locator(".hit-head").all_inner_texts()
    assert any("output" in each for each in found)
    assert any("message sent" in each for each in found)
    for _ in found:
        page.keyboard.press("Enter")
        until(page, "CSS.highlights.get('found')?.size > 0")
    # The last one is a message of the next turn, within what was folded away.
    page.locator(".detail details[open] .message").first.wait_for()
    page.fill("input[type=search]", "NEEDLE-in-a-blob")
    page.locator(".hit", has_text="the long one needle-in-a-blob needle").first.click()
    until(page, "CSS.highlights.get('found')?.size > 100")
    page.fill("input[type=search]", "part 7: 1914")
    page.wait_for_selector(".hit:has-text('part 7: 1914')")
    page.locator(".hit").first.click()
    page.keyboard.press("Escape")
    assert selected(page) == "b0.b1/7"
    page.keyboard.press("/")
    page.keyboard.type("there is no such text (really)")
    page.wait_for_selector("text=nothing found")
    page.keyboard.press("Escape")
    assert page.locator(".tree").is_visible()


def test_the_whole_tree_by_keys(open_run: Open) -> None:
    page = open_run()
    assert selected(page) == "0"
    for key, node in [
        ("j", "0/t1"), ("ArrowDown", "0/t2"), ("k", "0/t1"), ("ArrowUp", "0"), ("G", "0/t5"), ("g", "0"),
        ("j", "0/t1"), ("j", "0/t2"), ("l", "b0.b1"), ("ArrowRight", "b0.b1"), ("ArrowRight", "b0.b1/0"),
        ("h", "b0.b1"), ("ArrowLeft", "b0.b1"), ("ArrowLeft", "0/t2"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert selected(page) == node, key
    assert f"node={'0%2Ft2'}" in page.url
    assert len(rows(page)) == 9
    page.keyboard.press("Enter")
    assert len(rows(page)) == 8
    page.keyboard.press("Enter")
    assert len(rows(page)) == 9
    page.keyboard.press("?")
    page.locator("dialog").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("j")
    assert selected(page) == "b0.b1"
    page.reload()
    page.wait_for_selector("[data-id='b0.b1'][aria-selected=true]")
    assert "token" not in page.url


def test_it_grows_while_the_run_goes_on(open_run: Open, growing: Growing) -> None:
    growing.turn(1, said="the first")
    page = open_run(trace=Trace(growing.writer.path.parent), state="growing")
    page.wait_for_selector("[data-id='0/t1'][aria-selected=true]")
    assert page.locator(".top-status").inner_text() == "running"
    growing.turn(2, said="the second", output="fresh output\n")
    page.wait_for_selector("[data-id='0/t2'][aria-selected=true]")
    page.wait_for_selector("text=fresh output")
    # Who looks around is left alone.
    page.keyboard.press("k")
    growing.turn(3)
    page.wait_for_selector("[data-id='0/t3']")
    assert selected(page) == "0/t1"
    page.keyboard.press("f")
    assert selected(page) == "0/t3"
    growing.emit("batch.started", rollout="0", batch="0.b1", size=3, model="sub", kind="plain", max_tokens=10)
    page.wait_for_selector("text=3 under way")
    growing.end("the end of it")
    page.wait_for_selector(".top-status .answered")
    page.keyboard.press("g")
    assert page.locator(".answer .text").first.inner_text() == "the end of it"
    assert page.get_by_text("Follow", exact=True).is_hidden()


def test_it_tells_when_the_viewers_server_is_gone(
    serve: Callable[[Path], ViewServer], look: Look, growing: Growing
) -> None:
    server = serve(growing.writer.path.parents[1])
    page = look.open(server.url(growing.id))
    page.wait_for_selector(".top-status .running")
    server.__exit__(None, None, None)
    page.wait_for_selector(".top-status .disconnected")
    page.close()
    # What the browser itself says of a server that is gone.
    look.errors = [error for error in look.errors if "Failed to load resource" not in error]


def test_a_run_that_was_killed_says_so(open_run: Open, growing: Growing) -> None:
    growing.turn(1)
    growing.writer.close()
    page = open_run(trace=Trace(growing.writer.path.parent))
    assert page.locator(".top-status").inner_text() == "killed"


def test_handovers_reminders_and_functions(open_run: Open, growing: Growing) -> None:
    growing.turn(1)
    tokens = {"input_tokens": 50, "output_tokens": 5, "estimated": False, "seconds": 0.1, "attempts": 1}
    handed = {"first_turn": 1, "last_turn": 1, "model": "root", "handover": "what was found", "done": True}
    growing.emit("compaction.completed", rollout="0", **handed, tokens_before=900, tokens_after=90, **tokens)
    prose = {"text": "I think so.", "code": None, "tool_call": None, "broken": None, "model": "root", **tokens}
    growing.emit("root.requested", rollout="0", turn=2, last=None, max_tokens=None, kept=0, messages=[])
    growing.emit("root.completed", rollout="0", turn=2, **prose)
    growing.turn(2)
    called: dict[str, Any] = {
        "name": "lookup",
        "args": ["x"],
        "kwargs": {},
        "result": "y",
        "failed": None,
        "seconds": 0.1,
    }
    growing.emit("function.completed", rollout="0", **called)
    growing.emit("kernel.died", rollout="0", reason="memory", detail="it took too much")
    page = open_run(trace=growing.end())
    assert rows(page) == ["Root", "Turn 1", "Turns 1\u20131 handed over", "Turn 2"]
    assert "it took too much" in page.locator(".incidents").inner_text()
    page.locator("[data-id='0/c1']").click()
    assert page.locator("[aria-label=handover]").inner_text() == "what was found"
    page.locator("[data-id='0/t2']").click()
    assert page.locator("h2", has_text="Request").all_inner_texts() == ["Request 1", "Request 2"]
    assert "I think so." in page.locator(".detail").inner_text()
    assert "lookup()" in page.locator(".detail").inner_text()


def test_the_list_of_runs_leads_to_each(
    serve: Callable[[Path], ViewServer], look: Look, played: Played, other: Played
) -> None:
    page = look.open(serve(played.runs).url())
    page.wait_for_selector(".run-row")
    page.locator(".run-row").nth(1).wait_for()
    assert page.locator(".run-row").count() == 2
    page.locator(".run-row").last.click()
    page.wait_for_selector(".row")
    assert played.trace.run_id in page.url
    page.get_by_text("Compare").click()
    page.wait_for_selector("text=Compare with which run?")
    page.locator(".run-row").click()
    page.wait_for_selector(".versus")
    assert page.url.endswith(f"#/compare/{played.trace.run_id}/{other.trace.run_id}")


def test_two_runs_side_by_side(serve: Callable[[Path], ViewServer], look: Look, played: Played, other: Played) -> None:
    page = look.open(serve(played.runs).url(played.trace.run_id, other.trace.run_id))
    page.wait_for_selector(".turn-pair:nth-of-type(7), .turn-pair >> nth=4")
    table = {
        cells[0]: cells[1:]
        for cells in page.locator(".versus tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
    }
    assert table["turns"] == ["5", "2"]
    assert table["sub-calls"] == ["51", "0"]
    assert table["cost"][1] == "n/a"
    assert table["settings that differ"][0].startswith("prices:")
    page.locator(".turn-pair").nth(4).wait_for()
    assert page.locator(".turn-pair").count() == 5
    second = page.locator(".turn-pair").nth(1).locator(".column")
    assert "llm_batch" in second.nth(0).inner_text()
    assert "answer['ready']" in second.nth(1).inner_text()
    assert page.locator(".turn-pair").nth(2).inner_text().endswith("no such turn")
    assert page.locator(".diff .gone mark").inner_text() == "1900"
    assert page.locator(".diff .new mark").inner_text() == "ever"
    second.nth(1).get_by_text("open").click()
    page.wait_for_selector("[data-id='0/t2'][aria-selected=true]")
    assert other.trace.run_id in page.url


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_sticks_out(open_run: Open, look: Look, width: int) -> None:
    look.page.set_viewport_size({"width": width, "height": 800})
    page = open_run("0/t2")
    for node in ("0", "0/t2", "b0.b1", "b0.b1/7"):
        page.evaluate(f"location.hash = '#/run/' + RLM.app.run.id + '?node={node}'")
        page.wait_for_selector(f"[data-id='{node}'][aria-selected=true]")
        for box in ("document.documentElement", "document.querySelector('.detail')"):
            assert page.evaluate(f"{box}.scrollWidth - {box}.clientWidth") == 0, (node, box)


def test_day_and_night(open_run: Open, look: Look) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        look.page.emulate_media(color_scheme=scheme)
        page = open_run()
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))
    assert min(grounds[0]) > 230
    assert max(grounds[1]) < 40


def test_all_that_is_asked_for_comes_from_the_viewer(open_run: Open, look: Look, played: Played) -> None:
    page = open_run()
    page.wait_for_selector(".answer")
    origin = page.evaluate("location.origin")
    assert len(look.requests) > 10
    assert all(url.startswith((f"{origin}/", "data:")) for url in look.requests), json.dumps(look.requests)


SHAPES = cell(
    "Prompts of every shape.",
    """talk = [{'role': role, 'content': role} for role in ('user', 'assistant', 'user')]
own = [{'role': 'system', 'content': 'mine'}, {'role': 'user', 'content': 'with a system prompt'}]
dot = b'\\x89PNG\\r\\n\\x1a\\n' + bytes(40)
object, seen = {'prompt': 'an object', 'system': 'its own'}, {'prompt': 'seen', 'images': [dot]}
shapes = ['plain', talk, own, object, {'messages': [*talk, talk[1], talk[0]]}, seen]
a = llm_batch(shapes, model='sub')
b = llm_batch(['as the batch says'], model='sub', system='of the batch')
c = llm_batch(['five or six?'], model='sub', schema={'type': 'string'})
answer['content'] = str(len(a))
answer['ready'] = True""",
)


def test_prompts_of_every_shape_are_shown_as_they_were_sent(
    serve: Callable[[Path], ViewServer], look: Look, tmp_path: Path
) -> None:
    played = play(tmp_path, [SHAPES], tools=[])
    page = look.open(serve(tmp_path).url(played.trace.run_id))
    page.wait_for_selector("#main[data-state=over]")
    asked = {json.dumps(sent_texts(request)): request for request in played.sent("sub")}
    seen = []
    for node in [*(f"b0.b1/{n}" for n in range(6)), "b0.b2/0", "b0.b3/0"]:
        page.evaluate(f"location.hash = '#/run/' + RLM.app.run.id + '?node={node}'")
        page.wait_for_selector(f"[data-id='{node}'][aria-selected=true]")
        seen.append(json.dumps([[role, text] for role, text in messages(page) if role]))
        assert seen[-1] in asked, node
    assert len(set(seen)) == 8
    page.evaluate("location.hash = '#/run/' + RLM.app.run.id + '?node=b0.b1/5'")
    page.wait_for_selector(".image")
    assert "image/png" in page.locator(".image").inner_text()


def sent_texts(request: Any) -> list[list[str]]:
    """Roles and texts; of a message in parts, its text."""
    return [
        [m["role"], m["content"] if isinstance(m["content"], str) else m["content"][0]["text"]]
        for m in request.messages
    ]


def test_a_run_that_is_taken_up_again_goes_on_in_the_page(open_run: Open, growing: Growing) -> None:
    growing.turn(1)
    growing.writer.close()
    page = open_run(trace=Trace(growing.writer.path.parent))
    assert page.locator(".top-status").inner_text() == "killed"
    growing.reopen()
    growing.emit("run.resumed", turns=1, calls=0, seconds=1.0)
    page.wait_for_selector(".top-status .running")
    growing.turn(2)
    growing.emit("context.read", bytes=1234)
    growing.end()
    page.wait_for_selector(".top-status .answered")
    assert rows(page) == ["Root", "Turn 1", "Turn 2"]
    page.keyboard.press("g")
    assert "taken up again" in page.locator(".incidents").inner_text()
    assert figure(page, "Input read") == "1.2 kB"


def test_input_from_the_endpoints_cache_costs_less(open_run: Open, growing: Growing) -> None:
    page = open_run(trace=growing.end())
    prices = {"sub": [5e-6, 1e-6, 1e-6]}
    call = {
        "type": "call.completed",
        "rollout": "0",
        "batch": "0.b1",
        "index": 0,
        "model": "sub",
        "prompt": "p",
        "ts": 1,
    }
    tokens = {"input_tokens": 1000, "cached_input_tokens": 900, "output_tokens": 10}
    cost = "([prices, event]) => { const run = new RLM.Run('x', prices); run.add(event); return run.root.total.cost; }"
    assert page.evaluate(cost, [prices, {**call, **tokens}]) == pytest.approx(100 * 5e-6 + 900 * 1e-6 + 10 * 1e-6)


def test_a_call_with_tools_while_it_is_under_way(open_run: Open, growing: Growing) -> None:
    growing.turn(1)
    asked = {"rollout": "0", "batch": "0.b1"}
    growing.emit("batch.started", **asked, size=1, model="sub", kind="plain", max_tokens=10, tools=True)
    reply = {"text": "let me look", "tool_calls": [], "finish_reason": "tool_calls", "model": "sub", "key": "k"}
    tokens = {"input_tokens": 10, "output_tokens": 1, "estimated": False, "attempts": 1}
    growing.emit("call.replied", **asked, index=0, **reply, **tokens)
    page = open_run("b0.b1/0", trace=Trace(growing.writer.path.parent), state="growing")
    page.wait_for_selector("text=let me look")
    assert figure(page, "Status") == "running"
