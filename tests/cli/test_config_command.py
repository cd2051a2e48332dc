"""`rlm config`: every setting with its source, and nothing that is a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlm.config import Settings
from rlm.layers import user_file

SECRETS = {"sk-key-0123", "sk-header-0123", "sk-query-0123", "sk-param-0123", "sk-mcp-0123", "sk-password-0123"}


@pytest.fixture
def show(rlm):
    """Runs it; returns the exit code and the settings by name."""

    def run(*arguments, **environ):
        ran = rlm("config", "show", "--json", *arguments, **environ)
        return ran.code, json.loads(ran.out)["settings"]

    return run


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_and_its_source(show, isolated_env):
    user = write(user_file(), 'sub_model = "mine"\nmax_turns = 5\ndepth = 2\n')
    project = write(isolated_env / "rlm.toml", 'max_turns = 6\ntips = "count"\n')
    code, found = show("--max-turns", "7", "--api", "responses", RLM_DEPTH="3", OPENAI_BASE_URL="http://h.test/v1")
    assert code == 0
    assert list(found) == list(Settings.model_fields)
    assert found["max_turns"] == {"value": 7, "source": "option"}
    assert found["api"] == {"value": "responses", "source": "option"}
    assert found["depth"] == {"value": 3, "source": "RLM_DEPTH"}
    assert found["tips"] == {"value": "count", "source": str(project)}
    assert found["sub_model"] == {"value": "mine", "source": str(user)}
    assert found["base_url"] == {"value": "http://h.test/v1", "source": "OPENAI_BASE_URL"}
    assert found["timeout"] == {"value": 3600, "source": "default"}


def test_what_is_shown_is_what_a_run_has(rlm, isolated_env):
    write(isolated_env / "rlm.toml", "max_turns = 6\n")
    lines = rlm("config", "show").out.splitlines()
    assert [line.split()[0] for line in lines] == list(Settings.model_fields)
    (line,) = (line for line in lines if line.startswith("max_turns "))
    assert line.split() == ["max_turns", "6", str(isolated_env / "rlm.toml")]


def test_keys_are_never_shown(rlm, isolated_env):
    write(
        user_file(),
        'headers = {"X-Team" = "sk-header-0123"}\n'
        'base_url = "http://me:sk-password-0123@h.test/v1?key=sk-query-0123"\n'
        'sub_params = {api_key = "sk-param-0123", seed = 1}\n'
        'mcp = ["server --token sk-mcp-0123"]\n',
    )
    for form in ([], ["--json"]):
        ran = rlm("config", "show", *form, OPENAI_API_KEY="sk-key-0123")
        assert ran.code == 0
        assert not [secret for secret in SECRETS if secret in ran.out + ran.err]
        assert "http://h.test/v1?…" in ran.out or "http://h.test/v1?\\u2026" in ran.out
    found = json.loads(ran.out)["settings"]
    assert found["api_key"] == {"value": "set", "source": "OPENAI_API_KEY"}
    assert found["sub_api_key"] == {"value": "not set", "source": "default"}
    assert found["headers"]["value"] == {"X-Team": "…"}
    assert found["sub_params"]["value"] == {"api_key": "…", "seed": 1}


def test_wrong_values_are_told_with_their_source(rlm, isolated_env):
    project = write(isolated_env / "rlm.toml", "max_turns = 0\nsub_max_tokens = 7\n")
    ran = rlm("config", "show", "--json", RLM_DEPTH="many", RLM_API_KEY="sk-key-0123")
    report = json.loads(ran.out)
    assert (ran.code, report["ok"]) == (2, False)
    found = report["settings"]
    assert "greater than 0" in found["max_turns"]["problem"]
    assert found["max_turns"]["source"] == str(project)
    assert found["depth"]["source"] == "RLM_DEPTH"
    assert found["sub_max_tokens"] == {"value": 7, "source": str(project)}
    assert len(ran.errors) == 1
    assert "rlm.toml: max_turns: " in ran.err
    assert "RLM_DEPTH: depth: " in ran.err
    assert "sk-key" not in ran.out + ran.err
    assert "wrong: " in rlm("config", "show").out


def test_values_that_contradict_each_other(rlm):
    ran = rlm("config", "show", "--sandbox", "bwrap", "--runtime", "runsc")
    assert ran.code == 2
    assert "only the docker sandbox has runtimes" in ran.err


@pytest.mark.parametrize(
    ("text", "told"),
    [("modle = 1\n", "did you mean 'model'"), ("= 1\n", "rlm.toml"), ('base_url = "http://evil.test"\n', "base_url")],
)
def test_a_projects_file_that_cannot_be_used(rlm, isolated_env, text, told):
    write(isolated_env / "rlm.toml", text)
    ran = rlm("config", "show")
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_a_value_cannot_write_on_the_terminal(rlm, isolated_env):
    write(isolated_env / "rlm.toml", 'model = "a\\u001b[2J\\nb"\n')
    ran = rlm("config", "show")
    assert "\x1b" not in ran.out
    assert ran.out.count("\n") == len(Settings.model_fields)


def test_path(rlm):
    assert rlm("config", "path").out == f"{user_file()}\n"
