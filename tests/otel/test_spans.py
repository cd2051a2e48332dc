"""A run as spans: their tree, what they tell and what they do not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult, Settings
from rlm.otel import Spans
from rlm.testing import ScriptedModelServer
from rlm.trace.reader import Trace
from tests import needs
from tests.export import rich

sdk = needs.module("opentelemetry.sdk.trace")

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")


def fold(result: RunResult, **options: Any) -> Any:
    """The spans of a recorded run."""
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = Spans(provider, **options)
    assert result.trace is not None
    for event in Trace(result.trace.parent).events():
        sink(event)
    return exporter.get_finished_spans()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return rich.play(tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="module")
def spans(result: RunResult) -> Any:
    return fold(result)


def lineage(span: Any, spans: Any) -> list[str]:
    """The names from a span up to the run."""
    by_id = {each.context.span_id: each for each in spans}
    names = [span.name]
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        names.append(span.name)
    return names


def test_the_tree(spans: Any) -> None:
    paths = Counter("/".join(reversed(lineage(span, spans))) for span in spans)
    run = "invoke_agent rlm"
    cell = f"{run}/turn 1/execute_tool python"
    assert paths[run] == 1
    assert paths[f"{run}/turn 1/chat root"] == 1
    assert paths[f"{run}/turn 3/chat root"] == 2  # one without code
    assert paths[f"{run}/turn 6/chat root"] == 2  # the turn's own, and the summing up before it
    assert paths[f"{cell}/batch 0.b1/chat child"] == 2
    assert paths[f"{cell}/batch 0.b1/invoke_agent sub-LLM/chat child"] == 2
    assert paths[f"{cell}/batch 0.b1/invoke_agent sub-LLM/execute_tool lookup"] == 1
    child = f"{run}/turn 2/execute_tool python/batch 0.b2/invoke_agent child"
    assert paths[child] == 2
    assert paths[f"{child}/turn 1/chat child"] == 2
    assert sum(n for path, n in paths.items() if path.startswith(f"{child}/turn 1/execute_tool python/batch")) == 4
    assert paths[f"{run}/turn 2/execute_tool python/execute_tool note"] == 1
    assert len({span.context.trace_id for span in spans}) == 1


def test_spans_lie_within_their_parents(spans: Any) -> None:
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        assert span.start_time <= span.end_time
        if span.parent is not None:
            parent = by_id[span.parent.span_id]
            assert span.start_time >= parent.start_time - 5_000_000, span.name
            assert span.end_time <= parent.end_time + 5_000_000, span.name


def test_tokens_are_on_the_leaves_and_add_up(spans: Any, result: RunResult) -> None:
    parents = {span.parent.span_id for span in spans if span.parent is not None}
    told = [span for span in spans if any(name in span.attributes for name in TOKENS)]
    assert all(span.context.span_id not in parents for span in told)
    assert {span.attributes["gen_ai.operation.name"] for span in told} == {"chat"}
    usage = result.usage
    assert [sum(span.attributes[name] for span in told) for name in TOKENS] == [
        usage.root.input_tokens + usage.sub.input_tokens,
        usage.root.output_tokens + usage.sub.output_tokens,
    ]
    attempts = sum(span.attributes["rlm.attempts"] for span in told)
    assert attempts == usage.root.calls - 1 + usage.sub.calls  # a refused request of the root leaves no event


def test_failures(spans: Any) -> None:
    failed = {(span.name, span.attributes["error.type"]) for span in spans if not span.status.is_ok}
    assert failed == {
        ("chat child", "invalid"),
        ("execute_tool python", "ZeroDivisionError"),
        ("execute_tool python", "died"),
    }
    assert [event.name for span in spans for event in span.events] == ["kernel.died"]


def test_the_run_tells_how_it_ended(spans: Any, result: RunResult) -> None:
    (run,) = [span for span in spans if span.parent is None]
    attributes = dict(run.attributes)
    assert attributes["gen_ai.conversation.id"] == result.run_id
    assert (attributes["rlm.stop_reason"], attributes["rlm.turns"]) == ("answered", 6)
    chat = next(span for span in spans if span.name == "chat root")
    assert chat.kind is trace.SpanKind.CLIENT
    assert chat.attributes["server.address"] == "127.0.0.1"
    assert chat.attributes["gen_ai.request.model"] == "root"


def test_content_is_told_only_where_it_is_asked_for(
    spans: Any, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dump(found: Any) -> str:
        return json.dumps([dict(span.attributes) for span in found])

    assert rich.SECRET not in dump(spans)
    assert "print(" not in dump(spans)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    told = fold(result)
    assert rich.SECRET in dump(told)
    chat = next(span for span in told if span.name == "chat root")
    assert json.loads(chat.attributes["gen_ai.input.messages"])[0]["role"] == "system"
    assert "I look first." in chat.attributes["gen_ai.output.messages"]
    cell = next(span for span in told if span.name == "execute_tool python")
    assert cell.attributes["gen_ai.tool.call.arguments"].startswith("print(context")


def test_a_run_that_breaks_off_leaves_no_span_open(result: RunResult) -> None:
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = Spans(provider)
    assert result.trace is not None
    events = list(Trace(result.trace.parent).events())
    begun = next(number for number, event in enumerate(events) if event["type"] == "batch.started")
    for event in [*events[: begun + 1], events[-1]]:
        sink(event)
    names = [span.name for span in exporter.get_finished_spans()]
    assert sorted(names) == ["batch 0.b1", "chat root", "execute_tool python", "invoke_agent rlm", "turn 1"]


async def test_in_the_library_spans_go_to_the_applications_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    answer = rich.cell("answer['content'] = llm_query('x')\nanswer['ready'] = True")
    with ScriptedModelServer({"m": lambda request: answer if request.stream else "yes"}) as server:
        options: dict[str, Any] = {"model": "m", "base_url": server.base_url, "sandbox": "process", "no_trace": True}
        await RLM(settings=Settings(**options)).arun("?", "x")
        assert exporter.get_finished_spans() == ()
        with provider.get_tracer("app").start_as_current_span("the application's own"):
            async for _ in RLM(settings=Settings(otel=True, **options)).stream("?", "x"):
                pass
    spans = exporter.get_finished_spans()
    (run,) = [span for span in spans if span.name == "invoke_agent rlm"]
    assert lineage(run, spans) == ["invoke_agent rlm", "the application's own"]
    assert [span.name for span in spans].count("chat m") == 2
