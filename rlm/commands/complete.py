"""What a shell completes beside the names of commands and options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Completer = Callable[[str], Sequence[str]]

_CHOICE = re.compile(r"[a-z0-9_-]+")
ARMS = ("llm", "rlm", "rlm+tips", "auto", "rlm@0", "rlm@1", "rlm@2", "rlm@3")


def one_of(metavar: str | None) -> Completer | None:
    """For an option whose metavar lists its values, `docker|bwrap|process`; None for any other."""
    choices = (metavar or "").split("|")
    if len(choices) < 2 or not all(_CHOICE.fullmatch(choice) for choice in choices):
        return None

    def complete(incomplete: str) -> Sequence[str]:
        return _beginning(incomplete, choices)

    return complete


def arms(incomplete: str) -> Sequence[str]:
    """The last one of a list, `llm,rl…`; each is offered once."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{arm}" for arm in _beginning(last, [arm for arm in ARMS if arm not in taken])]


def environments(incomplete: str) -> Sequence[str]:
    """Those that come with rlm."""
    from rlm.evals.registry import ENVIRONMENTS

    return _beginning(incomplete, list(ENVIRONMENTS))


def prompts(incomplete: str) -> Sequence[str]:
    """The texts that come with rlm."""
    from rlm.prompts import shipped

    return _beginning(incomplete, [each.name for each in shipped()])


def root_prompts(incomplete: str) -> Sequence[str]:
    """The shipped texts that `--prompt` takes; where none fits, shells go on to files."""
    return _beginning(incomplete, ["root"])


def _beginning(incomplete: str, choices: Sequence[str]) -> Sequence[str]:
    return [choice for choice in choices if choice.startswith(incomplete)]
