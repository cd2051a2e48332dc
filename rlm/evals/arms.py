"""The arms of an evaluation: the ways in which the same task is tried.

`llm` is one plain call with the input in its prompt and the tools as native calls. `rlm` is the runtime as it is,
`rlm@0` to `rlm@3` at another depth, `…+tips` with the environment's advice. `auto` gives short inputs to a plain call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlm.assets import asset_dir
from rlm.config import Settings
from rlm.context import Value
from rlm.errors import ConfigError
from rlm.evals.task import Environment, Task

_ARM = re.compile(r"(?P<route>llm|rlm|auto)(?:@(?P<depth>[0-8]))?(?P<tips>\+tips)?")
DEFAULT = "llm,rlm,rlm+tips"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way; `depth` is that of the settings where it is None."""

    name: str
    route: Literal["llm", "rlm", "auto"]
    depth: int | None = None
    tips: bool = False


def parse_arm(name: str) -> Arm:
    """Raises `ConfigError`."""
    match = _ARM.fullmatch(name)
    if match is None or (match["route"] == "llm" and (match["depth"] or match["tips"])):
        raise ConfigError(f"no arm {name!r}: there are llm, rlm, rlm+tips, rlm@0 to rlm@8, auto, and rlm@2+tips")
    route: Any = match["route"]
    return Arm(name, route, int(match["depth"]) if match["depth"] else None, bool(match["tips"]))


def parse_arms(names: str) -> list[Arm]:
    """`llm,rlm` -> the arms, each once. Raises `ConfigError`."""
    arms = [parse_arm(name) for name in dict.fromkeys(part.strip() for part in names.split(",")) if name]
    if not arms:
        raise ConfigError("--arms: none is named")
    return arms


def settings_of(arm: Arm, settings: Settings, environment: Environment, task: Task) -> Settings:
    """What a run of this task takes in this arm."""
    update: dict[str, Any] = {"route": arm.route, "tools": (*settings.tools, *task.tools)}
    if arm.depth is not None:
        update["depth"] = arm.depth
    if arm.tips:
        update["tips"] = tips_of(environment)
    return settings.model_copy(update=update)


def tips_of(environment: Environment) -> str:
    """The environment's advice: the name of a shipped text, a file, or the text itself."""
    shipped = asset_dir("prompts") / "tips" / f"{environment.tips}.md"
    return str(shipped) if environment.tips.isidentifier() and shipped.is_file() else environment.tips


def inputs_of(arm: Arm, task: Task) -> list[Any]:
    """What the run is given. Texts by name are one mapping in the REPL, and stand one by one in a prompt."""
    context = task.context
    if context is None:
        return []
    if isinstance(context, Mapping):
        if arm.route == "rlm":
            return [Value(dict(context))]
        return [Value(text, name=name) for name, text in context.items()]
    return [context if isinstance(context, Path) else Value(context)]


def context_chars(task: Task) -> int:
    """How long the input is: characters of a text, bytes of files."""
    context = task.context
    if context is None:
        return 0
    if isinstance(context, Mapping):
        return sum(map(len, context.values()))
    if isinstance(context, Path):
        files = [context] if context.is_file() else context.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())
    return len(context)
