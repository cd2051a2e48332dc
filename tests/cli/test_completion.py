"""What shells complete: through the protocol that their scripts speak, and once through bash itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from rlm.commands import options
from rlm.config import Settings
from rlm.evals.arms import parse_arm
from rlm.evals.registry import ENVIRONMENTS
from rlm.prompts import shipped
from tests.needs import lacking

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def complete(rlm: Callable[..., object], capfd: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """What is offered for the last of these words."""

    def run(*words: str) -> list[str]:
        line = " ".join(("rlm", *words))
        with pytest.raises(SystemExit) as ended:
            rlm(_RLM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words)))
        assert ended.value.code == 0
        return capfd.readouterr().out.split()

    return run


def test_commands_and_options(complete):
    assert {"ask", "doctor", "config", "prompts", "runs"} <= set(complete(""))
    assert complete("conf") == ["config"]
    assert set(complete("prompts", "")) == {"list", "show"}
    assert {"--sandbox", "--sub-model"} <= set(complete("ask", "q", "--s"))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ask", "--sandbox", ""], {"auto", "docker", "bwrap", "process"}),
        (["ask", "--sandbox", "d"], {"docker"}),
        (["doctor", "--sandbox", ""], {"docker", "bwrap", "process"}),
        (["ask", "--display", ""], {"rich", "plain", "json", "none"}),
        (["ask", "--route", ""], {"rlm", "auto", "llm"}),
        (["ask", "--api", "r"], {"responses"}),
        (["doctor", "--provider", "o"], {"openai", "ollama", "openrouter"}),
        (["ask", "--prompt", "r"], {"root"}),
        (["ask", "--prompt", "./mi"], set()),
        (["eval", "oolong"], {"oolong", "oolong_pairs"}),
        (["eval", ""], set(ENVIRONMENTS)),
        (["eval", "needle", "--arms", "rlm+"], {"rlm+tips"}),
        (["eval", "needle", "--arms", "llm,rlm,a"], {"llm,rlm,auto"}),
        (["prompts", "show", "tips/oo"], {"tips/oolong", "tips/oolong_pairs"}),
        (["ask", "--memory", ""], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values(complete, words, offered):
    assert set(complete(*words)) == offered


def test_an_arm_is_offered_once_and_is_one(complete):
    offered = complete("eval", "needle", "--arms", "llm,")
    assert offered
    assert "llm,llm" not in offered
    for arms in offered:
        assert parse_arm(arms.rpartition(",")[2])


def test_every_prompt_is_offered(complete):
    assert set(complete("prompts", "show", "")) == {each.name for each in shipped()}


def test_what_is_offered_is_what_is_taken():
    """The choices that an option shows are those of the setting."""
    for name, field in Settings.model_fields.items():
        choices = [*get_args(field.annotation)]
        # `Literal[…] | None` holds the literal as its first argument.
        choices = [*get_args(choices[0])] if choices and get_args(choices[0]) else choices
        if choices and all(isinstance(choice, str) for choice in choices):
            assert options.SETTINGS[name].__metadata__[0].metavar.split("|") == choices


def test_runs(complete, ask, scripted_model):
    cell = "```repl\nanswer.update(content='a', ready=True)\n```"
    run_id = json.loads(ask(scripted_model({"root": cell, "sub": "-"}), "--json").out)["run_id"]
    for command in (["runs", "show"], ["view"], ["view", "--compare"], ["export"], ["resume"]):
        assert complete(*command, "") == [run_id]
        assert complete(*command, run_id[:6]) == [run_id]


@pytest.fixture
def bash(isolated_env: Path) -> Callable[[str], str]:
    """Runs a script in which `rlm` is the command of this checkout."""
    if shutil.which("bash") is None:
        lacking("bash is not installed")
    command = isolated_env / "bin" / "rlm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/cli.py" "$@"\n')
    command.chmod(0o755)
    environ = {"HOME": str(isolated_env), "PATH": f"{command.parent}:/usr/bin:/bin"}

    def run(script: str) -> str:
        ran = subprocess.run(["bash", "-c", f"{script}\n:"], env=environ, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    return run


def test_bash_completes_with_what_is_installed(bash, isolated_env):
    bash("rlm --install-completion")
    (script,) = (isolated_env / ".bash_completions").iterdir()
    assert str(script) in (isolated_env / ".bashrc").read_text()
    typed = "COMP_WORDS=(rlm ask --sandbox d); COMP_CWORD=3"
    offered = bash(f'source "{script}"; {typed}; _rlm_completion rlm; echo "${{COMPREPLY[@]}}"')
    assert offered.split() == ["docker"]


def test_the_script_can_be_shown(bash):
    assert "_RLM_COMPLETE=complete_bash" in bash("rlm --show-completion")
