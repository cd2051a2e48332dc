"""The commands' surface: quick, documented from one source, and every mistake is one line with its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlm.commands.help import option_help
from rlm.commands.options import given
from rlm.commands.reference import reference
from rlm.config import Settings
from rlm.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"openai", "aiohttp", "docker", "jupyter_client", "httpx", "asyncio", "jinja2", "zmq"}
ENVIRONMENT_ONLY = {"api_key", "sub_api_key", "prices"}
"""Keys would show in the process list; a price table is no flag."""


def test_help_imports_nothing_heavy():
    program = f"""
import sys
from rlm.commands.app import run
for arguments in (["--help"], ["version"], ["ask", "--help"], ["eval", "--help"], ["doctor", "--help"]):
    code = run(arguments)
    loaded = {{name.partition(".")[0] for name in sys.modules}} & {HEAVY!r}
    if code or loaded:
        sys.exit(f"{{arguments}} gave {{code}} and loaded {{loaded}}")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_version(rlm):
    ran = rlm("version")
    assert ran.code == 0
    assert ran.out.startswith("rlm-kernel ")


def test_every_setting_has_its_option_and_its_help():
    from rlm.commands.ask import ask

    parameters = set(ask.__annotations__)
    fields = set(Settings.model_fields)
    assert fields - parameters == ENVIRONMENT_ONLY
    assert parameters - fields == {"ctx", "question", "inputs", "as_json", "stream_json", "display", "quiet"}
    for name, field in Settings.model_fields.items():
        assert field.description is not None
        assert option_help(name).startswith(field.description)


@pytest.mark.parametrize("shown", [("ask", "[default: 30]"), ("view", "rlm-kernel[server]"), ("eval", "[default: 10]")])
def test_what_stands_in_brackets_is_no_markup(rlm, shown):
    command, text = shown
    assert text in " ".join(rlm(command, "--help", COLUMNS="200").out.split())


def test_defaults_are_told():
    assert option_help("max_turns").endswith("[default: 30]")
    assert option_help("timeout").endswith("[default: 3600]")
    assert option_help("sandbox").endswith("[default: auto]")
    assert "[default" not in option_help("no_trace")


def test_the_reference_is_current():
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_given_values():
    parameters = {
        "question": "q",
        "max_sub_calls": 0,
        "model": None,
        "packages": [],
        "no_trace": False,
        "root_params": ["temperature=0.2", "stop=END", 'extra={"a": [1]}'],
        "headers": ["X-Team: a: b"],
        "allow_install": ["a,b", "c"],
    }
    assert given(parameters) == {
        "max_sub_calls": 0,
        "root_params": {"temperature": 0.2, "stop": "END", "extra": {"a": [1]}},
        "headers": {"X-Team": "a: b"},
        "allow_install": ["a", "b", "c"],
    }


def test_a_header_that_is_none_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        given({"headers": ["sk-secret"]})
    assert "sk-secret" not in str(caught.value)


USAGE_ERRORS = {
    "no command": ([], ""),
    "unknown command": (["fly"], "fly"),
    "unknown option": (["ask", "q", "--modle", "m"], "--modle"),
    "not a number": (["ask", "q", "--max-turns", "many"], "--max-turns"),
    "out of range": (["ask", "q", "--model", "m", "--max-turns", "0"], "max_turns"),
    "bad sandbox": (["ask", "q", "--model", "m", "--sandbox", "cloud"], "sandbox"),
    "bad parameter": (["ask", "q", "--model", "m", "--param", "hot"], "--param: 'hot'"),
    "two owners of stdout": (["ask", "q", "--json", "--stream-json"], "--json"),
    "quiet, and yet shown": (["ask", "q", "--quiet", "--display", "plain"], "--display plain"),
    "no such display": (["ask", "q", "--display", "fancy"], "--display"),
}


@pytest.mark.parametrize(("arguments", "told"), USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_usage_errors_are_one_line_and_exit_2(rlm, arguments, told):
    ran = rlm(*arguments)
    assert ran.code == 2
    if arguments:
        assert ran.out == ""
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("rlm: error: ")
        assert told in ran.err


def test_an_unknown_key_in_the_projects_file(rlm, tmp_path):
    (tmp_path / "rlm.toml").write_text('modle = "m"\n')
    ran = rlm("ask", "q")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "rlm.toml" in ran.err
    assert "did you mean 'model'" in ran.err


def test_debug_adds_the_traceback(rlm, tmp_path):
    (tmp_path / "rlm.toml").write_text("x = 1\n")
    assert "Traceback" in rlm("ask", "q", RLM_DEBUG="1").err


def test_doctor_as_json(rlm):
    ran = rlm("doctor", "--json")
    report = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert (ran.code == 0) == report["ok"]
    assert {"python", "configuration", "docker", "bwrap", "sandbox", "leftovers", "endpoint", "traces"} <= {
        check["name"] for check in report["checks"]
    }


def doctor_check(rlm, name, **environ):
    ran = rlm("doctor", "--json", **environ)
    return ran.code, next(check for check in json.loads(ran.out)["checks"] if check["name"] == name)


def test_doctor_tries_the_endpoint(rlm, scripted_model):
    server = scripted_model({"root": "hi"}, api_key="sk-right-key")
    _, check = doctor_check(rlm, "endpoint", RLM_BASE_URL=server.base_url, OPENAI_API_KEY="sk-right-key")
    assert check["status"] == "ok"
    code, check = doctor_check(rlm, "endpoint", RLM_BASE_URL=server.base_url, OPENAI_API_KEY="sk-wrong-key")
    assert (code, check["status"]) == (4, "fail")
    assert "sk-wrong" not in json.dumps(check)
    code, check = doctor_check(rlm, "endpoint", RLM_BASE_URL="http://127.0.0.1:9/v1")
    assert (code, check["status"]) == (4, "fail")


def test_doctor_without_any_sandbox(rlm, tmp_path):
    code, check = doctor_check(rlm, "sandbox", DOCKER_HOST=f"unix://{tmp_path}/none.sock", PATH=str(tmp_path))
    assert (code, check["status"]) == (5, "fail")
    assert check["fix"]


def test_doctor_reports_a_configuration_that_cannot_be_read(rlm, tmp_path):
    (tmp_path / "rlm.toml").write_text("nonsense = 1\n")
    code, check = doctor_check(rlm, "configuration")
    assert (code, check["status"]) == (2, "fail")
