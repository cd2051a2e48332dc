"""The figures of a run, from lists of events and from a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm import RLM, RunResult, Settings, metrics
from rlm.testing import Fault, ScriptedModelServer
from rlm.trace.reader import Trace
from tests.export.rich import cell


def event(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": type_, "seq": 1, "ts": 1.0, "run_id": "r", **fields}


def reply(rollout: str = "0", code: str | None = "x", **fields: Any) -> dict[str, Any]:
    tokens = {"input_tokens": 10, "output_tokens": 2, "attempts": 1}
    return event("root.completed", rollout=rollout, code=code, **{**tokens, **fields})


def call(**fields: Any) -> dict[str, Any]:
    spent = {"input_tokens": 5, "output_tokens": 1, "attempts": 1, "seconds": 2.0, "waited": 0.5, "cached": False}
    return event("call.completed", rollout="0", **{**spent, **fields})


def figures(*events: dict[str, Any]) -> dict[str, Any]:
    return metrics.of(events).to_dict()


def test_turns_and_tokens_of_the_root_and_of_all_below_it_are_apart() -> None:
    found = figures(reply(), reply(), reply("0.1"), call(turns=3, tool_calls=2, attempts=4), call())
    assert (found["root_turns"], found["sub_turns"]) == (2, 4)
    assert (found["root_calls"], found["sub_calls"], found["retries"]) == (2, 6, 1)
    assert (found["root_input_tokens"], found["root_output_tokens"]) == (20, 4)
    assert (found["sub_input_tokens"], found["sub_output_tokens"]) == (20, 4)


def test_a_reply_without_code_is_a_turn_only_as_the_last_one() -> None:
    found = figures(
        event("root.requested", rollout="0", last=None),
        reply(code=None),
        event("root.requested", rollout="0", last="max_turns"),
        reply("0.1", code=None),
        reply(code=None),
    )
    assert (found["root_turns"], found["sub_turns"], found["reminders"]) == (1, 0, 2)


def test_what_a_repair_took_is_no_retry() -> None:
    asked = [{"role": "user"}, {"role": "assistant"}, {"role": "user"}]
    repaired = [*asked, {"role": "assistant"}, {"role": "user"}]
    assert figures(call(attempts=2, prompt=asked, messages=repaired))["retries"] == 0
    assert figures(call(attempts=3, prompt="p", messages=repaired[2:]))["retries"] == 1
    assert figures(call(attempts=3, prompt="p"), reply(attempts=2))["retries"] == 3


def test_latency_is_what_was_not_spent_waiting_and_counts_requests_only() -> None:
    calls = [call(seconds=10.0 + n, waited=10.0) for n in range(1, 101)]
    none = [call(cached=True, attempts=0), call(attempts=0, error={"kind": "budget", "message": ""}), call(child="0.1")]
    found = figures(*calls, *none)
    assert [found[f"sub_latency_p{percent}"] for percent in (50, 90, 99)] == [50.0, 90.0, 99.0]
    assert found["errors"] == {"budget": 1}
    assert figures(*none)["sub_latency_p50"] is None


def test_batches_cells_tools_and_the_rest() -> None:
    found = figures(
        event("batch.started", rollout="0", size=3),
        event("batch.started", rollout="0", size=6),
        event("batch.completed", cached=4),
        event("cell.completed", rollout="0", status="ok", seconds=1.0, active_seconds=0.5),
        event("cell.completed", rollout="0.1", status="error", seconds=3.0, active_seconds=2.0),
        event("compaction.completed", rollout="0.1", done=True, input_tokens=7, output_tokens=1, attempts=1),
        event("compaction.completed", rollout="0", done=False, input_tokens=7, output_tokens=1, attempts=1),
        event("tool.completed", failed=True),
        event("tool.completed", failed=False),
        event("child.started"),
        event("kernel.died"),
    )
    assert (found["batches"], found["batch_size_mean"], found["batch_size_max"], found["cached"]) == (2, 4.5, 6, 4)
    assert (found["cells"], found["cells_failed"], found["cell_seconds"], found["cell_seconds_mean"]) == (2, 1, 4.0, 2)
    assert (found["cell_seconds_max"], found["cell_active_seconds"]) == (3.0, 2.5)
    assert (found["compactions"], found["sub_input_tokens"], found["root_input_tokens"]) == (1, 7, 7)
    assert (found["tool_calls"], found["tool_failures"], found["children"], found["kernel_deaths"]) == (2, 1, 1, 1)


def test_the_share_of_the_input_that_was_read() -> None:
    started = event("run.started", inputs=[{"bytes": 60}, {"bytes": 40}])
    looks = [event("context.read", rollout="0", bytes=read) for read in (10, 70, 30)]
    child = event("context.read", rollout="0.1", bytes=99)
    assert figures(started, *looks, child)["context_read_share"] == 0.7
    assert figures(started)["context_read_share"] is None
    assert figures(*looks)["context_read_share"] is None
    assert figures(started, event("context.read", rollout="0", bytes=500))["context_read_share"] == 1.0


def test_nothing_is_counted_twice() -> None:
    assert figures(reply(), event("run.resumed", turns=1), reply(past=True)) == figures(reply())


def test_nothing_at_all_and_what_is_not_known_are_no_errors() -> None:
    assert figures()["batch_size_mean"] is None
    assert figures(event("of.later.versions", tokens=3)) == figures()


EVENTS = st.lists(
    st.one_of(
        st.builds(reply, st.sampled_from(["0", "0.1"]), st.sampled_from([None, "x"]), attempts=st.integers(1, 3)),
        st.builds(call, seconds=st.floats(0, 1e4), cached=st.booleans(), turns=st.none() | st.integers(1, 5)),
        st.builds(lambda size: event("batch.started", size=size), st.integers(0, 1000)),
        st.builds(
            lambda s: event("cell.completed", rollout="0", status="ok", seconds=s, active_seconds=s),
            st.floats(0, 1e6),
        ),
        st.builds(lambda read: event("context.read", rollout="0", bytes=read), st.integers(0, 2000)),
        st.just(event("run.started", inputs=[{"name": "a", "bytes": 1000}])),
    )
)


@given(EVENTS)
def test_folding_is_the_same_live_and_from_json(events: list[dict[str, Any]]) -> None:
    live = metrics.Metrics()
    for each in events:
        live(each)
        live.to_dict()
    read = metrics.of(json.loads(json.dumps(events)))
    assert read.to_dict() == live.to_dict() == json.loads(json.dumps(live.to_dict()))


@pytest.mark.parametrize("whole", [True, False])
def test_a_real_run(rich_result: RunResult, whole: bool) -> None:
    assert rich_result.trace is not None
    found = metrics.of(Trace(rich_result.trace.parent).events(whole=whole)).to_dict()
    assert found == rich_result.metrics == rich_result.to_dict()["metrics"]
    usage = rich_result.usage
    assert (found["root_input_tokens"], found["root_output_tokens"]) == (
        usage.root.input_tokens,
        usage.root.output_tokens,
    )
    assert (found["sub_input_tokens"], found["sub_output_tokens"]) == (usage.sub.input_tokens, usage.sub.output_tokens)
    assert (found["sub_calls"], found["cached"]) == (usage.sub.calls, usage.sub.cached_calls)
    assert found["root_calls"] == usage.root.calls - 1  # the one that was refused as too long leaves no event
    assert (found["root_turns"], found["children"], found["compactions"]) == (rich_result.turns, 2, 1)
    assert (found["tool_calls"], found["kernel_deaths"], found["reminders"], found["errors"]) == (
        1,
        1,
        1,
        {"invalid": 1},
    )
    assert found["context_bytes"] == 382


@pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")
async def test_a_run_that_was_taken_up_again_counts_as_one(tmp_path: Path) -> None:
    first = [cell("votes = llm_batch(['a', 'b'])"), Fault.http(401)]
    second = [cell("answer['content'] = str(votes + llm_batch(['c']))\nanswer['ready'] = True")]
    with ScriptedModelServer({"root": [*first, *second], "sub": "yes"}) as server:
        options: dict[str, Any] = {"model": "root", "sub_model": "sub", "sandbox": "process", "trace_dir": tmp_path}
        rlm = RLM(settings=Settings(base_url=server.base_url, **options))
        broken = await rlm.arun("What?", "x")
        resumed = await rlm.aresume()
    assert (broken.metrics["sub_calls"], broken.metrics["cells"]) == (2, 1)
    assert resumed.stop_reason == "answered"
    assert (resumed.metrics["sub_calls"], resumed.metrics["cells"], resumed.metrics["root_turns"]) == (3, 2, 2)
    assert resumed.trace is not None
    assert metrics.of(Trace(resumed.trace.parent).events()).to_dict() == resumed.metrics
    assert RunResult.from_dict(resumed.to_dict()).to_dict() == resumed.to_dict()
