"""The guest's hostile options of a batch, checked: what may be asked of a sub-call, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlm.calls.shape import Shape

MAX_SYSTEM = 1 << 20

_PARAMS = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_SAMPLING = (*_PARAMS, "seed", "stop")
_COMMON = frozenset({"model", "timeout", "schema", "cache", "loop"})
_OPTIONS = _COMMON | {"system", "max_tokens", "params", "dedupe", "tools", *_SAMPLING}
_CHILD_OPTIONS = _COMMON | {"max_turns", "recursive"}
MAX_LINE = 1_000_000


class Options(NamedTuple):
    """The checked options of a batch, or of one prompt of it."""

    model: str
    system: str
    max_tokens: int
    timeout: float | None
    dedupe: bool
    params: Mapping[str, Any]
    shape: Shape | None = None
    """What the reply has to fit."""
    tools: bool = False
    """Whether the sub-LLM has the environment's tools."""
    cache: bool = True
    """Whether an earlier reply to the same request will do."""
    loop: int | None = None
    """The line of the loop that asks, if the guest looks ahead in a serial one."""
    max_turns: int = 1
    """Of a child."""

    def told(self, default_system: str) -> dict[str, Any]:
        """What of it is worth an event: all that is not as usual."""
        said: dict[str, Any] = {"max_tokens": self.max_tokens}
        if self.system != default_system:
            said["system"] = self.system
        if self.params:
            said["params"] = dict(self.params)
        if self.shape is not None:
            said["schema"] = self.shape.wrapped
        if self.tools:
            said["tools"] = True
        if self.loop is not None:
            said["loop"] = self.loop
        return said


class Defaults(NamedTuple):
    """What applies where the guest says nothing, and the bounds of what it may say."""

    models: tuple[str, ...]
    """The models that sub-calls may name; the first is the default."""
    system: str
    max_tokens: int
    """Also the most that may be asked for."""
    timeout: float
    """Seconds; also the most that may be asked for."""
    tools: bool = False
    """Whether there are tools for sub-LLMs."""
    tools_system: str = ""
    """The system prompt of a sub-LLM that has tools."""
    max_turns: int = 30
    """Of a child; also the most that may be asked for."""


def parse_options(raw: Mapping[str, Any], defaults: Defaults) -> Options:
    """Raises `ValueError` with a message for the model."""
    raw = _known(raw, _OPTIONS)
    tools = _flag(raw, "tools", True) and defaults.tools
    system = defaults.tools_system if tools else defaults.system
    return _common(raw, defaults)._replace(
        system=_text("system", raw.get("system", system), MAX_SYSTEM),
        max_tokens=int(_number("max_tokens", raw.get("max_tokens", defaults.max_tokens), 1, defaults.max_tokens)),
        dedupe=_flag(raw, "dedupe", False),
        params=_params(raw),
        tools=tools,
    )


def parse_child_options(raw: Mapping[str, Any], defaults: Defaults) -> Options:
    """The options of an `rlm_batch`. Raises `ValueError` with a message for the model."""
    raw = _known(raw, _CHILD_OPTIONS)
    max_turns = int(_number("max_turns", raw.get("max_turns", defaults.max_turns), 1, defaults.max_turns))
    return _common(raw, defaults)._replace(max_turns=max_turns, tools=defaults.tools)


def _known(raw: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    given = {key: value for key, value in raw.items() if value is not None}
    if unknown := sorted(str(key)[:40] for key in given.keys() - known):
        raise ValueError(f"unknown option {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    return given


def _common(raw: Mapping[str, Any], defaults: Defaults) -> Options:
    model = raw.get("model", defaults.models[0])
    if model not in defaults.models:
        raise ValueError(f"model: {str(model)[:80]!r} is not available; there are: {', '.join(defaults.models)}")
    return Options(
        model=model,
        system=defaults.tools_system if defaults.tools else defaults.system,
        max_tokens=defaults.max_tokens,
        timeout=_number("timeout", raw["timeout"], 0.001, defaults.timeout) if "timeout" in raw else None,
        dedupe=False,
        params={},
        shape=Shape.checked(raw["schema"]) if "schema" in raw else None,
        cache=_flag(raw, "cache", True),
        loop=int(_number("loop", raw["loop"], 1, MAX_LINE)) if "loop" in raw else None,
    )


def _params(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters, given by name or inside `params`."""
    given = raw.get("params", {})
    if not isinstance(given, dict):
        raise ValueError("params: an object")
    params: dict[str, Any] = {}
    for name, value in {**given, **{key: raw[key] for key in _SAMPLING if key in raw}}.items():
        if name in _PARAMS:
            params[name] = _number(name, value, *_PARAMS[name])
        elif name == "seed":
            params[name] = int(_number(name, value, -(2**63), 2**63 - 1))
        elif name == "stop":
            params[name] = _stop(value)
        else:
            raise ValueError(f"params: {str(name)[:40]!r} is not allowed; there are: {', '.join(_SAMPLING)}")
    return params


def _stop(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not 1 <= len(stops) <= 4:
        raise ValueError("stop: one to four strings")
    return [_text("stop", stop, 200) for stop in stops]


def _flag(raw: Mapping[str, Any], name: str, default: bool) -> bool:
    value = raw.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: True or False")
    return value


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name}: a string of at most {most:,} characters")
    return value


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: a number")
    if not least <= value <= most:
        raise ValueError(f"{name}: between {least:g} and {most:g}")
    return value
