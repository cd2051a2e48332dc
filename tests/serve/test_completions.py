"""Completions through the official client: answers, streams, drafts, failures, clients that go away."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from functools import partial
from typing import Any

import httpx
import openai
import pytest

from rlm.testing import Fault
from tests.serve.conftest import Serve, Served, answer, cell, question, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

BATCH = cell("replies = llm_batch(['one', 'two'])\nprint(replies)")


def test_any_client_gets_an_rlm_by_changing_its_base_url(serve: Serve, isolated_env):
    served = serve({"root": [BATCH, answer("replies")], "sub": "yes"})
    with served.openai() as client:
        assert [model.id for model in client.models.list()] == ["rlm"]
        assert client.models.retrieve("rlm").owned_by == "rlm"
        done = client.chat.completions.create(**question("is it?", temperature=0.5))
    assert done.choices[0].message.content == "['yes', 'yes']"
    assert done.choices[0].finish_reason == "stop"
    about = done.model_extra["rlm"]
    assert set(about) == {"run_id", "stop_reason", "ready", "turns", "usage", "cost", "seconds"}
    assert (about["turns"], about["stop_reason"], about["usage"]["sub"]["calls"]) == (2, "answered", 2)
    both = about["usage"].values()
    assert done.usage.prompt_tokens == sum(each["input_tokens"] for each in both)
    assert done.usage.completion_tokens == sum(each["output_tokens"] for each in both)
    assert (isolated_env / "runs" / about["run_id"] / "result.json").is_file()
    assert str(isolated_env) not in done.model_dump_json()
    assert served.log[-1].startswith(f"run {about['run_id']} answered, 2 turns, ")
    assert served.figure('rlm_runs_total{stop_reason="answered"}') == 1
    assert served.figure('rlm_tokens_total{direction="input",part="sub"}') == about["usage"]["sub"]["input_tokens"]
    assert served.figure("rlm_runs_in_flight") == 0


def test_a_stream(serve: Serve):
    served = serve({"root": [BATCH, answer("'x' * 10_000 + 'end'")], "sub": "yes"})
    with served.openai() as client:
        body = question(stream=True, stream_options={"include_usage": True})
        chunks = list(client.chat.completions.create(**body, extra_body={"rlm": {"progress": True}}))
    *told, last = chunks
    assert len({chunk.id for chunk in chunks}) == 1
    assert told[0].choices[0].delta.role == "assistant"
    steps = [chunk.choices[0].delta.model_extra.get("reasoning_content", "") for chunk in told]
    assert {"turn 1 of 30\n", "2 sub-calls\n", "sub-calls done: 2\n", "the answer is ready\n"} <= set(steps)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == "x" * 10_000 + "end"
    assert [chunk.choices[0].finish_reason for chunk in told if chunk.choices[0].finish_reason] == ["stop"]
    assert told[-1].model_extra["rlm"]["turns"] == 2
    assert last.choices == []
    assert last.usage.total_tokens > 0


def test_a_stream_gives_signs_of_life_and_tells_no_steps_unless_asked(serve: Serve):
    served = serve({"root": {"text": answer("1"), "delay": 1.0}}, keep_alive=0.2)
    with served.http() as client, client.stream("POST", "/v1/chat/completions", json=question(stream=True)) as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in got.iter_lines() if line]
    assert lines.count(": working") >= 4
    assert lines[-1] == "data: [DONE]"
    assert not any("reasoning_content" in line for line in lines)
    assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"


def test_what_is_long_earlier_or_attached_is_the_input(serve: Serve):
    expression = (
        "[type(context['message']).__name__, len(context['message']), context['conversation'][1]['content'], "
        "context['a.txt'], context['notes.txt'], type(context['image-2.png']).__name__]"
    )
    served = serve({"root": answer(expression)}, long_message=100)
    data = base64.b64encode(b"\x89PNG\0").decode()
    long = "tell me\n" * 50 + "\nWhat is what?"
    with served.openai() as client:
        kept = client.files.create(file=("a.txt", b"uploaded"), purpose="user_data")
        done = client.chat.completions.create(
            model="rlm",
            messages=[
                {"role": "system", "content": "Answer as a list."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "see"}, {"type": "file", "file": {"file_id": kept.id}}],
                },
                {"role": "assistant", "content": "I see"},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {"file_data": base64.b64encode(b"inline").decode(), "filename": "notes.txt"},
                        },
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                        {"type": "text", "text": long},
                    ],
                },
            ],
        )
    found = ["str", len(long), "I see", "uploaded", "inline", "PosixPath"]
    assert done.choices[0].message.content == str(found)
    user = served.model.requests[0].messages[1]["content"]
    assert "<instructions>\nAnswer as a list.\n</instructions>" in user
    assert user.startswith("What is what?\n")
    assert "scratch" not in user


def test_quotations_are_looked_up(serve: Serve):
    served = serve({"root": answer("'It is <quote source=\"a.txt\">the  needle</quote>.'")}, cite=True)
    with served.http() as client:
        made = client.post("/v1/files", files={"file": ("a.txt", b"hay\nthe needle\nhay")}).json()
    part = {"type": "file", "file": {"file_id": made["id"]}}
    (cited,) = served.post(question([part, {"type": "text", "text": "what?"}])).json()["rlm"]["citations"]
    assert (cited["file"], cited["line"], cited["status"]) == ("a.txt", 2, "found")


def test_one_long_message_is_the_context_itself(serve: Serve):
    served = serve({"root": answer("context[::-1]")})
    text = "ß€\n" * 2000 + "\n\nbackwards?"
    done = served.post(question(text)).json()
    assert done["choices"][0]["message"]["content"] == text[::-1]


def test_short_requests_may_be_plain_calls_and_lose_nothing(serve: Serve):
    served = serve({"root": "<answer>as you say</answer>"}, route="auto")
    system, user = {"role": "system", "content": "rhyme"}, {"role": "user", "content": "first"}
    said: Any = [system, user, {"role": "assistant", "content": "and then"}, {"role": "user", "content": "what?"}]
    with served.openai() as client:
        done = client.chat.completions.create(model="rlm", messages=said)
    assert done.choices[0].message.content == "as you say"
    (sent,) = served.model.requests
    assert all(part in sent.prompt for part in ("rhyme", '"first"', '"and then"', "what?", "The input is the list"))


def test_a_draft_that_a_limit_cut_off(serve: Serve):
    served = serve({"root": cell("answer['content'] = 'half'")})
    with served.openai() as client:
        done = client.chat.completions.create(**question(), extra_body={"rlm": {"max_turns": 1}})
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("half", "length")
    assert done.model_extra["rlm"]["stop_reason"] == "max_turns"
    assert not done.model_extra["rlm"]["ready"]


def test_time_that_runs_out_without_a_draft(serve: Serve):
    served = serve({"root": Fault.stall()})
    got = served.post(question(rlm={"timeout": 0.5}))
    assert (got.status_code, got.json()["error"]["code"]) == (504, "timeout")


FAILURES = {
    "key": (Fault.http(401, "wrong key sk-upstream-key at http://inside"), 502, "upstream_auth", "server_error"),
    "refused": (Fault.http(400, "sk-upstream-key"), 502, "upstream_bad_reply", "server_error"),
    "too long": (
        Fault.http(400, "maximum context length is 8 tokens", code="context_length_exceeded"),
        400,
        "context_length_exceeded",
        "invalid_request_error",
    ),
}


@pytest.mark.parametrize(("fault", "status", "code", "kind"), FAILURES.values(), ids=FAILURES)
def test_failures_have_their_status_and_no_word_of_what_is_inside(serve: Serve, fault, status, code, kind):
    served = serve({"root": fault})
    got = served.post(question())
    error = got.json()["error"]
    assert (got.status_code, error["code"], error["type"]) == (status, code, kind)
    assert "sk-upstream-key" not in got.text
    assert served.model.base_url not in got.text
    with pytest.raises(openai.APIError) as caught, served.openai() as client:
        list(client.chat.completions.create(**question(stream=True)))
    assert caught.value.code == code
    assert "sk-upstream-key" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_cancels_its_run(serve: Serve, stream):
    served = serve({"root": Fault.stall()})
    with served.http() as client:
        request = client.build_request("POST", "/v1/chat/completions", json=question(stream=stream))
        if stream:
            got = client.send(request, stream=True)
            wait_until(lambda: served.model.in_flight == 1)
            got.close()
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.send(client.build_request("POST", "/v1/chat/completions", json=question(), timeout=4))
    wait_until(lambda: served.model.in_flight == 0)
    wait_until(lambda: served.server._jobs.waiting + served.server._jobs.running == 0)
    assert served.figure('rlm_runs_total{stop_reason="interrupted"}') == 1


def test_what_does_not_fit_is_turned_away_and_told_when_to_come_again(serve: Serve):
    gate = threading.Event()

    async def root(request):
        await asyncio.to_thread(gate.wait, 30)
        return answer("'done'")

    served = serve({"root": root}, workers=1, queue=1)
    got: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: got.append(served.post(question()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: served.model.in_flight == 1 and served.server._jobs.waiting == 1)
    refused = served.post("never read")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert served.figure("rlm_requests_waiting") == 1
    gate.set()
    for thread in threads:
        thread.join(30)
    assert [each.json()["choices"][0]["message"]["content"] for each in got] == ["done", "done"]


def _has(served: Served, running: int, waiting: int) -> bool:
    return (served.server._jobs.running, served.server._jobs.waiting) == (running, waiting)


def test_a_waiting_client_that_goes_away_frees_its_place(serve: Serve):
    served = serve({"root": Fault.stall()}, workers=1, queue=1)
    with served.http() as client:
        streams = []
        for waiting in (0, 1):
            request = client.build_request("POST", "/v1/chat/completions", json=question(stream=True))
            streams.append(client.send(request, stream=True))
            wait_until(partial(_has, served, running=1, waiting=waiting))
        streams[1].close()
        wait_until(lambda: served.server._jobs.waiting == 0)
        assert served.server._jobs.running == 1
        streams[0].close()


def test_the_end_waits_for_runs_and_then_returns_their_drafts(serve: Serve):
    served = serve({"root": [cell("answer['content'] = 'the draft'"), Fault.stall()]}, grace=1)
    got: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: got.append(served.post(question())))
    thread.start()
    wait_until(lambda: served.model.request_counts["root"] == 2)
    served.server.end()
    with served.http() as client:
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/healthz").status_code == 200
        refused = client.post("/v1/chat/completions", json=question())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    begun = time.monotonic()
    served.join()
    thread.join(5)
    assert time.monotonic() - begun < 10
    done = got[0].json()
    assert (done["choices"][0]["message"]["content"], done["rlm"]["stop_reason"]) == ("the draft", "interrupted")


@pytest.mark.docker
def test_in_a_container(serve: Serve, sandbox_image):
    served = serve({"root": answer("[context['a.csv'][:3], type(context['conversation']).__name__]")}, sandbox="docker")
    with served.openai() as client:
        kept = client.files.create(file=("a.csv", b"a,b\n1,2\n"), purpose="user_data")
        part = {"type": "file", "file": {"file_id": kept.id}}
        earlier: Any = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
        content: Any = [part, {"type": "text", "text": "what is in it?"}]
        done = client.chat.completions.create(model="rlm", messages=[*earlier, {"role": "user", "content": content}])
    assert done.choices[0].message.content == "['a,b', 'list']"
