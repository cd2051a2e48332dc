"""`rlm doctor --model`: what it says of endpoints that differ, each played by a script."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from rlm.models.probe import red_square
from rlm.testing import Fault, Reply, ScriptedRequest

CALL = {"id": "call_1", "name": "add", "arguments": {"a": 17, "b": 25}}
ANSWERS = {
    "Count from": "one two three four five six seven eight",
    "how many letters": '{"colour": "red", "letters": 3}',
    "JSON object": '{"colour": "red"}',
    "square": "Red.",
    "OK": "OK",
}
CAPABILITIES = {"streaming", "usage of streams", "tools", "JSON Schema", "JSON mode", "images", "concurrency"}


def able(request: ScriptedRequest) -> Any:
    """A model that can do all that is asked."""
    asked = request.messages[0]["content"]
    asked = asked if isinstance(asked, str) else asked[0]["text"]
    if "17 plus 25" in asked:
        return "42" if request.turn else Reply(tool_calls=[CALL])
    return next(answer for part, answer in ANSWERS.items() if part in asked)


def without(refused: Callable[[ScriptedRequest], bool], message: str) -> Callable[[ScriptedRequest], Any]:
    """The same, but what is `refused` is a 400."""
    return lambda request: Fault.http(400, message) if refused(request) else able(request)


@pytest.fixture
def doctor(rlm: Callable[..., Any]) -> Callable[..., tuple[int, dict[str, dict[str, Any]]]]:
    """Runs it; returns the exit code and the checks by name."""

    def run(server: Any, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
        base_url = server if isinstance(server, str) else server.base_url
        ran = rlm("doctor", "--model", "m", "--base-url", base_url, "--json", *arguments, **environ)
        report = json.loads(ran.out)
        assert report["ok"] == (ran.code == 0)
        return ran.code, {check["name"]: check for check in report["checks"]}

    return run


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_endpoint_that_can_do_everything(doctor, scripted_model, api):
    server = scripted_model({"m": able}, models=[{"id": "m", "owned_by": "vllm", "max_model_len": 32768}])
    code, checks = doctor(server, "--api", api, "--context-window", "32768")
    assert code == 0
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert set(checks) == CAPABILITIES | {"endpoint", "provider", "plain call", "context window"}
    assert "vLLM" in checks["provider"]["detail"]
    assert "--enable-auto-tool-choice" in checks["provider"]["fix"]
    assert {request.api for request in server.requests} == {api}
    assert server.request_count == 11
    assert max(len(json.dumps(request.body)) for request in server.requests) < 1500


def test_nothing_is_said_of_the_machine(doctor, scripted_model):
    _, checks = doctor(scripted_model({"m": able}))
    assert not {"docker", "bwrap", "python", "traces"} & set(checks)


def test_a_line_for_people(rlm, scripted_model):
    server = scripted_model({"m": able}, models=[{"id": "m", "owned_by": "vllm", "max_model_len": 32768}])
    lines = rlm("doctor", "--model", "m", "--base-url", server.base_url).out.splitlines()
    assert "ok    tools: called when told to, and what it returned is understood" in lines
    assert "      -> set --context-window 32768: runs do not ask for it" in lines


def test_no_tools(doctor, scripted_model):
    server = scripted_model({"m": without(lambda r: "tools" in r.body, "tools are not supported here")})
    code, checks = doctor(server)
    assert (code, checks["tools"]["status"]) == (0, "note")
    assert checks["tools"]["detail"].startswith("no: ")
    assert "tools are not supported here" in checks["tools"]["detail"]
    assert "--native-tools" in checks["tools"]["fix"]
    assert {name for name in CAPABILITIES if checks[name]["status"] != "ok"} == {"tools"}


def test_tools_that_cannot_be_forced(doctor, scripted_model):
    server = scripted_model({"m": without(lambda r: "tool_choice" in r.body, "tool_choice is not supported")})
    assert "not when forced" in doctor(server)[1]["tools"]["detail"]


def test_tools_that_are_taken_and_not_called(doctor, scripted_model):
    server = scripted_model({"m": lambda r: "it is 42" if "tools" in r.body else able(r)})
    assert doctor(server)[1]["tools"]["detail"] == "unknown: taken, but the model called none"


def test_no_usage_in_streams(doctor, scripted_model):
    refusing = scripted_model({"m": able}, unsupported_params=["stream_options"])
    ignoring = scripted_model({"m": lambda r: Reply(text=able(r), usage=False) if r.stream else able(r)})
    for server, why in ((refusing, "stream_options is refused"), (ignoring, "none was sent")):
        _, checks = doctor(server)
        assert checks["streaming"]["status"] == "ok"
        assert checks["usage of streams"]["detail"] == f"no: {why}"


def test_no_streaming(doctor, scripted_model):
    _, checks = doctor(scripted_model({"m": able}, streaming=False))
    assert checks["streaming"]["detail"] == "no: the reply came in one piece"


def test_no_schema(doctor, scripted_model):
    refusing = scripted_model({"m": able}, unsupported_params=["response_format"])
    ignoring = scripted_model({"m": lambda r: "blue" if "response_format" in r.body else able(r)})
    for server, why in ((refusing, "no: refused: Unsupported parameter"), (ignoring, "no: taken and ignored")):
        _, checks = doctor(server)
        for name in ("JSON Schema", "JSON mode"):
            assert checks[name]["detail"].startswith(why)
        assert "checked" in checks["JSON Schema"]["fix"]


def test_a_schema_that_a_provider_is_known_to_ignore_is_tried_all_the_same(doctor, scripted_model):
    server = scripted_model({"m": able})
    _, checks = doctor(server, "--provider", "anthropic")
    assert checks["JSON Schema"]["status"] == "ok"
    assert sum("response_format" in request.body for request in server.requests) == 2


def test_images(doctor, scripted_model):
    def seen(request: ScriptedRequest) -> Any:
        content = request.messages[0]["content"]
        assert isinstance(content, str) or content[1]["image_url"]["url"].startswith("data:image/png;base64,")
        return able(request)

    blind = without(lambda r: not isinstance(r.messages[0]["content"], str), "images are not supported")
    vague = lambda r: able(r) if isinstance(r.messages[0]["content"], str) else "a picture"  # noqa: E731
    for model, status, told in ((seen, "ok", "red"), (blind, "note", "no: "), (vague, "note", "unknown: ")):
        server = scripted_model({"m": model})
        _, checks = doctor(server)
        assert checks["images"]["status"] == status
        assert told in checks["images"]["detail"]
        assert not server.errors


def test_the_image_is_one():
    from PIL import Image  # comes with matplotlib

    with Image.open(io.BytesIO(red_square())) as image:
        assert (image.size, image.getpixel((5, 5))) == ((32, 32), (255, 0, 0))


def test_a_cap_by_another_name(doctor, scripted_model):
    server = scripted_model({"m": able}, unsupported_params=["max_tokens"])
    _, checks = doctor(server)
    assert "max_completion_tokens" in checks["plain call"]["detail"]
    assert sum("max_tokens" in request.body for request in server.requests) == 1


def test_a_wrong_key(doctor, scripted_model):
    server = scripted_model({"m": able}, api_key="sk-right-key")
    code, checks = doctor(server, OPENAI_API_KEY="sk-wrong-key")
    assert (code, [*checks], checks["plain call"]["status"]) == (4, ["endpoint", "provider", "plain call"], "fail")
    assert "OPENAI_API_KEY" in checks["plain call"]["fix"]
    assert "sk-wrong" not in json.dumps(checks)
    assert server.request_count == 0
    assert doctor(server, OPENAI_API_KEY="sk-right-key")[0] == 0


def test_a_key_that_may_list_but_not_ask(doctor, scripted_model):
    code, checks = doctor(scripted_model({"m": Fault.http(403, "no credit")}))
    assert (code, checks["plain call"]["status"]) == (4, "fail")
    assert "OPENAI_API_KEY" in checks["plain call"]["fix"]
    assert "tools" not in checks


async def test_a_key_that_may_ask_but_not_list(doctor, scripted_model):
    """A list of models that wants another kind of key, in front of an endpoint that takes this one."""
    server = scripted_model({"m": able})

    async def handle(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(status=401)
        async with (
            ClientSession() as session,
            session.post(f"{server.base_url}/chat/completions", data=await request.read()) as reply,
        ):
            return web.Response(body=await reply.read(), content_type=reply.content_type)

    front = TestServer(web.Application())
    front.app.router.add_route("*", "/{path:.*}", handle)
    async with front:
        code, checks = await asyncio.to_thread(doctor, str(front.make_url("/v1")))
    assert (code, checks["endpoint"]["status"], checks["plain call"]["status"]) == (0, "note", "ok")


def test_an_endpoint_that_is_not_there(doctor):
    code, checks = doctor("http://127.0.0.1:9/v1")
    assert (code, list(checks)) == (4, ["endpoint"])


def test_a_model_that_is_not_there(doctor, scripted_model):
    code, checks = doctor(scripted_model({"other": able}))
    assert (code, checks["model"]["status"], checks["plain call"]["status"]) == (4, "note", "fail")


def test_no_responses_api(doctor, scripted_model):
    code, checks = doctor(
        scripted_model({"m": lambda r: Fault.http(404) if r.api == "responses" else able(r)}), "--api", "responses"
    )
    assert code == 4
    assert "Chat Completions" in checks["plain call"]["fix"]


def test_requests_that_are_served_one_after_the_other(doctor, scripted_model):
    turn = asyncio.Lock()

    async def slow(request: ScriptedRequest) -> Any:
        async with turn:
            await asyncio.sleep(0.15)
        return able(request)

    _, checks = doctor(scripted_model({"m": slow}))
    assert checks["concurrency"]["detail"].endswith("they are served one after the other")


def test_a_rate_limit(doctor, scripted_model):
    _, checks = doctor(scripted_model({"m": able}, max_concurrency=2, delay=0.1))
    assert "2 of 4 at once met a rate limit" in checks["concurrency"]["detail"]
    assert "--concurrency" in checks["concurrency"]["fix"]


def window(doctor, scripted_model, entry, *arguments, pages=None):
    server = scripted_model({"m": able}, models=[{"id": "m", **entry}], pages=pages)
    return doctor(server, *arguments)[1]["context window"]


@pytest.mark.parametrize(
    "entry",
    [
        {"max_model_len": 8192},
        {"context_length": 8192},
        {"context_window": 8192},
        {"meta": {"n_ctx": 8192}},
        {"max_model_len": "many", "context_length": 8192},
    ],
)
def test_the_window_in_the_list_of_models(doctor, scripted_model, entry):
    check = window(doctor, scripted_model, entry)
    assert check["detail"].startswith("8,192 tokens")
    assert check["fix"].startswith("set --context-window 8192")


def test_a_window_that_nobody_tells(doctor, scripted_model):
    check = window(doctor, scripted_model, {})
    assert (check["status"], check["fix"]) == ("note", "set --context-window")
    assert check["detail"].startswith("unknown")
    assert window(doctor, scripted_model, {}, "--context-window", "5000")["status"] == "ok"


def test_a_window_that_was_set_too_wide(doctor, scripted_model):
    check = window(doctor, scripted_model, {"max_model_len": 8192}, "--context-window", "200000")
    assert (check["status"], check["fix"]) == ("note", "set --context-window 8192")


def test_ollamas_window_is_what_it_has_allotted(doctor, scripted_model):
    loaded = {
        "/api/ps": {"models": [{"name": "other", "context_length": 1}, {"name": "m:latest", "context_length": 4096}]}
    }
    made_for = {"/api/ps": {"models": []}, "/api/show": {"model_info": {"llama.context_length": 131072}}}
    entry = {"owned_by": "library"}
    assert window(doctor, scripted_model, entry, pages=loaded)["detail"].startswith("4,096 tokens, by /api/ps")
    check = window(doctor, scripted_model, entry, pages=made_for)
    assert check["detail"].startswith("unknown as it is served; made for 131,072")
    odd = {"/api/ps": [1], "/api/show": {"model_info": {"x.context_length": "y"}}}
    assert window(doctor, scripted_model, entry, pages=odd)["detail"].startswith("unknown: neither")


def test_what_an_endpoint_says_is_made_harmless(rlm, scripted_model):
    server = scripted_model({"m": Fault.http(400, "no \x1b[2J\x07 such\nmodel")})
    ran = rlm("doctor", "--model", "m", "--base-url", server.base_url)
    assert ran.code == 4
    assert "\x1b" not in ran.out
    assert "no [2J such model" in ran.out


def test_a_setting_that_is_wrong_is_told(rlm):
    ran = rlm("doctor", "--model", "m", "--api", "soap")
    assert ran.code == 2
    assert "api" in ran.out
