"""Keys are nowhere in what rlm writes or says: on success, on each kind of failure, with tracebacks, in any `repr`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from rlm import RLM, ModelError, RLMError, Settings
from rlm.commands import app
from rlm.layers import load_settings
from rlm.models import ChatModel
from rlm.models.endpoint import Endpoint
from rlm.parts import models
from rlm.run import Run
from rlm.testing import Fault, ScriptedModelServer, ScriptedRequest
from rlm.trace.secrets import secrets_of
from tests.faults.conftest import FINISH, cell

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

ROOT = Path(__file__).resolve().parents[2]
KEY, SUB_KEY = "sk-root-0123456789abcdef", "sk-sub-fedcba9876543210"
HEADER, QUERY = "token-in-a-header-77", "token-in-a-query-88"
SECRETS = {"key": KEY, "sub key": SUB_KEY, "header": HEADER, "query": QUERY}
SENT = f"{KEY} {HEADER} {QUERY}"
"""To the endpoint of the root."""


class Wrote(NamedTuple):
    """All that one command wrote."""

    code: int
    out: str
    err: str
    files: dict[str, bytes]

    def check(self) -> None:
        for what, secret in SECRETS.items():
            assert secret not in self.out, f"the {what} is in stdout: {self.out}"
            assert secret not in self.err, f"the {what} is in stderr: {self.err}"
            for name, content in self.files.items():
                assert secret.encode() not in content, f"the {what} is in {name}"


Ask = Callable[..., Wrote]


@pytest.fixture
def ask(isolated_env: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs `rlm ask` with every kind of secret and RLM_DEBUG=1, and collects what it wrote."""
    (isolated_env / "document.txt").write_text("a document", encoding="utf-8")

    def run(base_url: str, *options: str, **environ: str) -> Wrote:
        keys = {"OPENAI_API_KEY": KEY, "RLM_SUB_API_KEY": SUB_KEY, "RLM_DEBUG": "1", **environ}
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        command = ["ask", "q", "document.txt", "--model", "root", "--sub-model", "sub", "--sandbox", "process"]
        command += ["--base-url", f"{base_url}?api-token={QUERY}", "--header", f"X-Auth-Token: {HEADER}"]
        capfd.readouterr()
        code = app.run([*command, "--trace-dir", "runs", *options])
        out, err = capfd.readouterr()
        files = {str(path): path.read_bytes() for path in isolated_env.rglob("*") if path.is_file()}
        return Wrote(code, out, err, files)

    return run


def echo(request: ScriptedRequest) -> str:
    """What this endpoint was sent."""
    return f"{request.headers} {SENT}"


FAILURES: dict[str, tuple[Any, int]] = {
    "a wrong key that is quoted": (lambda request: Fault.http(401, f"Incorrect API key: {echo(request)}"), 4),
    "a refusal that quotes the request": (lambda request: Fault.http(400, echo(request)), 4),
    "an error object in a reply": (lambda request: Fault.event({"error": {"message": echo(request)}}), 4),
    "a redirect": (lambda request: {"status": 307, "headers": {"Location": f"http://x/?{SENT}"}}, 4),
}


@pytest.mark.parametrize("output", ["--json", "--stream-json", "--quiet"])
@pytest.mark.parametrize("name", FAILURES)
def test_no_secret_is_written_when_an_endpoint_quotes_it(name: str, output: str, ask: Ask, quick: None) -> None:
    reply, code = FAILURES[name]
    with ScriptedModelServer({"root": reply, "sub": "x"}) as server:
        wrote = ask(server.base_url, output)
        assert server.errors == []
        (sent, *_) = server.requests
    assert wrote.code == code, wrote.err
    assert sent.headers["authorization"] == f"Bearer {KEY}", "it was sent"
    assert any("events.jsonl" in file for file in wrote.files)
    wrote.check()


def test_no_secret_is_written_by_a_run_that_succeeds(ask: Ask) -> None:
    with ScriptedModelServer({"root": FINISH}, api_key=KEY) as server:
        wrote = ask(server.base_url, "--json")
    assert wrote.code == 0
    wrote.check()


def test_no_secret_is_written_when_nobody_answers(ask: Ask, quick: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wrote = ask(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "--json")
    assert wrote.code == 4
    wrote.check()


@pytest.mark.parametrize(
    "options",
    [
        ("--header", f"X-Auth-Token: {HEADER}\x01"),
        ("--header", f"X-Auth-Token {HEADER}"),
        ("--header", f"X-Auth-Token: ü{HEADER}"),
        ("--base-url", f"http://user:{KEY}@127.0.0.1:9/v1"),
        ("--base-url", f"ftp://127.0.0.1:9/v1?token={QUERY}"),
        ("--mcp", f"no-such-server --token {HEADER}"),
    ],
)
def test_no_secret_is_written_for_an_option_that_cannot_be_used(options: tuple[str, ...], ask: Ask) -> None:
    wrote = ask("http://127.0.0.1:9/v1", *options)
    assert wrote.code == 2, wrote.err
    assert "Traceback" in wrote.err, "with RLM_DEBUG=1"
    wrote.check()


@pytest.mark.parametrize("line", [f'api_key = ["{KEY}"]', f'functions = "{HEADER}"', f'api_key = "{KEY}'])
def test_no_secret_is_written_for_a_configuration_that_cannot_be_read(line: str, ask: Ask, isolated_env: Path) -> None:
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "rlm" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text(line, encoding="utf-8")
    wrote = ask("http://127.0.0.1:9/v1")
    assert wrote.code == 2, wrote.err
    wrote._replace(files={}).check()


def settings(base_url: str) -> Settings:
    return Settings(
        model="root",
        sub_model="sub",
        base_url=f"{base_url}?api-token={QUERY}",
        api_key=SecretStr(KEY),
        sub_api_key=SecretStr(SUB_KEY),
        headers={"X-Auth-Token": HEADER},
        no_trace=True,
        sandbox="process",
    )


async def test_no_secret_is_in_any_repr_or_exception() -> None:
    said: list[str] = []

    def say(*things: object) -> None:
        said.extend(text for thing in things for text in (repr(thing), str(thing)))

    quoting = lambda request: Fault.http(401, f"{request.headers} {QUERY}")  # noqa: E731
    with ScriptedModelServer({"*": quoting}) as server:
        chosen = settings(server.base_url)
        rlm = RLM(settings=chosen)
        made = models(chosen)
        endpoint = Endpoint.parse(f"{server.base_url}?api-token={QUERY}", api_key=KEY, headers=chosen.headers)
        say(chosen, chosen.api_key, rlm, vars(rlm), made, *made.all(), endpoint, Run(chosen, "q"))
        for model in made.all():
            assert isinstance(model, ChatModel)
            with pytest.raises(ModelError) as caught:
                await model.complete([{"role": "user", "content": "x"}])
            say(caught.value, caught.value.args)
            said.append("".join(traceback.format_exception(caught.value)))
            with pytest.raises(ModelError) as caught:
                await anext(model.stream([{"role": "user", "content": "x"}]))
            say(caught.value)
            said.append("".join(traceback.format_exception(caught.value)))
            await model.aclose()
        result = await rlm.arun("q", "c")
        say(result, result.to_dict(), result.error)
    for wrong in (
        {"api_key": [KEY]},
        {"headers": HEADER},
        {"headers": {"X-Token": [HEADER]}},
        {"sub_api_key": {KEY: 1}},
    ):
        with pytest.raises(RLMError) as mistaken:
            load_settings(wrong, environ={})
        say(mistaken.value)
        said.append("".join(traceback.format_exception(mistaken.value)))
    for what, secret in SECRETS.items():
        for text in said:
            assert secret not in text, f"the {what} is in {text}"


def test_secrets_of_names_them_all() -> None:
    assert set(SECRETS.values()) <= set(secrets_of(settings("http://127.0.0.1:9/v1")))


AUDIT = """
import json, sys
sys.path.insert(0, {root!r})
connected = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        connected.append([event, repr(arguments[-1] if event == "socket.connect" else arguments[:2])])
    elif event == "urllib.Request":
        connected.append([event, arguments[0]])
sys.addaudithook(hook)
from rlm.commands import app
code = app.run(sys.argv[1:])
print(json.dumps([code, connected]), file=sys.stderr)
"""


def test_a_run_connects_to_its_endpoint_and_to_nothing_else(isolated_env: Path) -> None:
    """No telemetry, no look for updates or prices: counted where Python makes connections."""

    (isolated_env / "document.txt").write_text("a document", encoding="utf-8")
    root = cell("x = llm_batch(['a', 'b'])\nanswer['content'] = x[0]\nanswer['ready'] = True")
    with ScriptedModelServer({"root": root, "sub": "fine"}) as server:
        command = ["ask", "q", "document.txt", "--model", "root", "--sub-model", "sub", "--sandbox", "process"]
        ran = subprocess.run(
            [sys.executable, "-c", AUDIT.format(root=str(ROOT)), *command, "--base-url", server.base_url],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    assert ran.stdout == "fine\n", ran.stderr
    code, seen = json.loads(ran.stderr.splitlines()[-1])
    assert code == 0
    port = server.base_url.split(":")[-1].split("/")[0]
    elsewhere = [each for each in seen if f"127.0.0.1', {port}" not in each[1]]
    assert elsewhere == []
    assert [event for event, _ in seen].count("socket.connect") >= 2, "the hook sees connections"


def test_a_url_with_a_query_is_given_again_when_the_run_is_taken_up(isolated_env: Path, quick: None) -> None:
    """The trace does not keep it, and what it would say in its place is no URL."""
    replies: list[Any] = [Fault.http(400, "no"), FINISH]
    with ScriptedModelServer({"root": replies}) as server:
        chosen = settings(server.base_url).model_copy(update={"no_trace": False, "trace_dir": isolated_env})
        failed = RLM(settings=chosen).run("q", "c")
        assert failed.trace is not None
        assert failed.trace.read_text(encoding="utf-8").count('"left_out":["base_url"') == 1
        assert RLM(settings=chosen).resume(failed.run_id).answer == "the answer"
