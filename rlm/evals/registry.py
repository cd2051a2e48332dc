"""The environments by name, and those of others by `file.py:NAME` or `module:NAME`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from rlm.errors import ConfigError
from rlm.evals.task import Environment
from rlm.tools.locate import load_object

ENVIRONMENTS = {
    "needle": "rlm.evals.needle",
    "oolong": "rlm.evals.oolong",
    "oolong_pairs": "rlm.evals.oolong_pairs",
    "verbatim": "rlm.evals.verbatim",
    "math_python": "rlm.evals.math_python",
    "deepdive": "rlm.evals.deepdive",
    "codeqa": "rlm.evals.codeqa",
}
"""Where each is; imported when it is asked for."""


def environment(name: str) -> Environment:
    """Raises `ConfigError` for a name that is none, and for a place that has none."""
    if name in ENVIRONMENTS:
        found = import_module(ENVIRONMENTS[name]).ENVIRONMENT
    elif ":" in name:
        found = load_object(name)
    else:
        raise ConfigError(f"no environment {name!r}: there are {', '.join(ENVIRONMENTS)}, and file.py:NAME")
    missing = [part for part in ("name", "options", "tips", "oracle", "task", "score") if not hasattr(found, part)]
    if missing:
        raise ConfigError(f"{name}: no environment, it has no {', '.join(missing)}")
    checked: Environment = found
    return checked


def chosen_options(environments: Iterable[Environment], pairs: Iterable[str]) -> dict[str, BaseModel]:
    """The options of each by name, from `ENV.OPTION=VALUE`. Raises `ConfigError`."""
    by_name = {each.name: each for each in environments}
    values: dict[str, dict[str, Any]] = {name: {} for name in by_name}
    for pair in pairs:
        place, equals, value = pair.partition("=")
        name, dot, option = place.partition(".")
        if not (equals and dot and option):
            raise ConfigError(f"--option: {pair!r} is not ENV.OPTION=VALUE")
        if name not in by_name:
            raise ConfigError(f"--option: {pair!r}, but {name!r} is not evaluated here")
        values[name][option] = value
    return {name: _options(each, values[name]) for name, each in by_name.items()}


def _options(each: Environment, values: dict[str, Any]) -> BaseModel:
    known = each.options.model_fields
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(f"{each.name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    try:
        return each.options.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "options"
        raise ConfigError(f"{each.name}.{place}: {first['msg']}") from None
