"""Where settings come from: flags > `RLM_*` environment > the project's `rlm.toml` > the user's `config.toml`
> `OPENAI_API_KEY` and `OPENAI_BASE_URL` > defaults.

The project's file lies in a folder that somebody else may have written: it cannot say where prompts
and keys go, weaken the sandbox, or name files outside its folder.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin

import platformdirs
from pydantic import ValidationError

from rlm.config import Settings
from rlm.errors import ConfigError

PROJECT_FILE = "rlm.toml"

_OWN_CONFIG_ONLY = frozenset(
    {"base_url", "sub_base_url", "api_key", "sub_api_key", "headers", "prices", "allow_install", "trace_dir"}
    | {"tools", "mcp", "functions", "cache", "runtime", "loaders", "allow_private_urls"}
)
"""Keys that a project's file may not set. Prices are among them since a price of zero would lift `max_cost`, the
cache since it may hold answers of the project's own, the runtime since one may have no walls, and loaders since they
are code."""

_RIVALS = {"models": ("model", "sub_model"), "model": ("models",), "sub_model": ("models",)}
"""Keys that say the same thing in another way: the uppermost layer that has one of them decides."""

_FILES = ("prompt", "tips")
"""Keys that may name a file, relative to the configuration file that holds them."""


class _Layer(NamedTuple):
    origin: str
    values: Mapping[str, Any]
    spelling: str = "{}"
    """How a key is written in this layer, for messages."""

    def spelled(self, key: str) -> str:
        """The key as it is written here."""
        return self.spelling.format(key.upper() if "_{" in self.spelling else key)

    def names(self, key: str) -> str:
        """Where the value of a key is to be found."""
        return self.spelled(key) if "_{" in self.spelling else self.origin


def user_file() -> Path:
    """The user's own configuration file; it need not exist."""
    return Path(platformdirs.user_config_dir("rlm")) / "config.toml"


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    project: Path | None = None,
    user: Path | None = None,
    environ: Mapping[str, str] | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> Settings:
    """Gather and check the settings of a run.

    `flags` are those that were given (a value of None counts as not given); `project` is the folder
    whose `rlm.toml` counts (default: the working directory); `recorded` are those of an earlier run, which
    come right after the flags (see `of_record`). Raises `ConfigError` with one line that names the source and
    the key.
    """
    return _merge(_layers(flags, project, user, environ, recorded))


class Told(NamedTuple):
    """One setting, and where its value comes from."""

    name: str
    value: Any
    """As it holds; the default where what was given cannot be used."""
    source: str
    """`option`, the name of a variable, a file, or `default`."""
    problem: str = ""
    """Why what was given cannot be used."""


def explain_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    project: Path | None = None,
    user: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Told]:
    """Every setting with its source, in the order of `Settings`; wrong values are told, not raised.

    Raises `ConfigError` as `load_settings` does for what is no setting, or cannot be read at all.
    """
    merged, source = _gather(_layers(flags, project, user, environ))
    problems: dict[str, str] = {}
    while True:
        try:
            settings = Settings(**{name: value for name, value in merged.items() if name not in problems})
            break
        except ValidationError as error:
            wrong = {str(each["loc"][0]): _told(each) for each in error.errors(include_url=False, include_input=False)}
            if not wrong.keys() & merged.keys() - problems.keys():  # nothing that was given: no value to leave out
                raise ConfigError(_one_line(error, source)) from None
            problems |= wrong
    return [
        Told(
            name,
            getattr(settings, name),
            source[name].names(name) if name in source else "default",
            problems.get(name, ""),
        )
        for name in Settings.model_fields
    ]


def _layers(
    flags: Mapping[str, Any] | None,
    project: Path | None,
    user: Path | None,
    environ: Mapping[str, str] | None,
    recorded: Mapping[str, Any] | None = None,
) -> list[_Layer]:
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return [
        _Layer("option", given),
        _Layer("trace", recorded or {}),
        _Layer("environment", _from_environ(environ), "RLM_{}"),
        _project_layer((project or _here()) / PROJECT_FILE),
        _file_layer(user or user_file()),
        _Layer("environment", _from_openai(environ), "OPENAI_{}"),
    ]


def of_record(told: Mapping[str, Any], *, trusted: bool) -> dict[str, Any]:
    """The settings of a run as its trace tells them, for `recorded`: also what was left at its default then.

    What a trace does not hold comes from where it usually does: keys, and all that is named in its `left_out`. A trace
    that somebody else may have written is not `trusted`: it cannot say what a project's file cannot.
    """
    elsewhere = {"api_key", "sub_api_key", *told.get("left_out", ())}
    if not trusted:
        elsewhere |= _OWN_CONFIG_ONLY | set(_FILES) | ({"sandbox"} if told.get("sandbox") == "process" else set())
    models = {"models"} if "models" in told else {"model", "sub_model"}
    return {
        name: told.get(name, field.default)
        for name, field in Settings.model_fields.items()
        if name not in elsewhere and (name in models or (name not in _RIVALS and name != "sub_model"))
    }


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the working directory does not exist any more") from None


def check_settings(**options: Any) -> Settings:
    """Settings from these options alone. Raises `ConfigError`."""
    return _merge([_Layer("option", options)])


def _merge(layers: list[_Layer]) -> Settings:
    merged, source = _gather(layers)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError(_one_line(error, source)) from None


def _gather(layers: list[_Layer]) -> tuple[dict[str, Any], dict[str, _Layer]]:
    """The values that hold, and the layer of each."""
    merged: dict[str, Any] = {}
    source: dict[str, _Layer] = {}
    for layer in layers:
        for key, value in layer.values.items():
            if key not in Settings.model_fields:
                raise ConfigError(f"{layer.origin}: unknown key {key!r}{_did_you_mean(key)}")
            rivals = [rival for rival in _RIVALS.get(key, ()) if rival in source]
            if any(source[rival] is layer for rival in rivals):
                raise ConfigError(f"{layer.origin}: give either models, or model and sub_model")
            if key not in merged and not rivals:
                merged[key], source[key] = value, layer
    return merged, source


def _one_line(error: ValidationError, source: Mapping[str, _Layer]) -> str:
    """The first problem, with its source."""
    problem = error.errors(include_url=False, include_input=False)[0]
    key = str(problem["loc"][0])
    layer = source.get(key)
    where = f"{layer.origin}: " if layer else ""
    return f"{where}{layer.spelled(key) if layer else key}{_told(problem)}"


def _told(problem: Any) -> str:
    """What is wrong, and in which part of the value. The value is left out: it may be a key."""
    inner = "".join(f".{part}" for part in problem["loc"][1:])
    return f"{inner}: {problem['msg']}"


def _did_you_mean(key: str) -> str:
    close = difflib.get_close_matches(key.replace("-", "_"), Settings.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    return dict(_parse_environ(environ))


def _parse_environ(environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name, field in Settings.model_fields.items():
        text = environ.get(f"RLM_{name.upper()}")
        if text is None:
            continue
        if get_origin(field.annotation) is tuple or (name == "packages" and not text.lstrip().startswith("{")):
            yield name, [part.strip() for part in text.split(",") if part.strip()]
        elif get_origin(field.annotation) is dict:
            try:
                yield name, json.loads(text)
            except ValueError:
                raise ConfigError(f"environment: RLM_{name.upper()}: not JSON") from None
        else:
            yield name, text


def _from_openai(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
    return {key: environ[name] for key, name in names.items() if environ.get(name)}


def _file_layer(path: Path) -> _Layer:
    try:
        # A pipe or a device in a folder that somebody else wrote would block, or never end.
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: not a regular file")
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        return _Layer(str(path), {})
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    for key in _FILES:
        if isinstance(name := values.get(key), str) and "\n" not in name and (beside := path.parent / name).is_file():
            values[key] = str(beside)
    return _Layer(str(path), values)


def _project_layer(path: Path) -> _Layer:
    layer = _file_layer(path)
    for key, value in layer.values.items():
        if key in _OWN_CONFIG_ONLY or (key, value) == ("sandbox", "process"):
            what = f"{key} = {value!r}" if key == "sandbox" else repr(key)
            raise ConfigError(f"{path}: {what} may only be set by flags, the environment or {user_file()}")
        if key in _FILES and isinstance(value, str) and _outside(value, path.parent):
            raise ConfigError(f"{path}: {key!r} names a file outside of the project")
    return layer


def _outside(name: str, folder: Path) -> bool:
    """Whether a prompt's or tips' value would be read from a file that does not lie in `folder`."""
    if "\n" in name or len(name) > 4096:
        return False
    for candidate in (Path(name).expanduser(), folder / name):
        if candidate.exists() and not candidate.resolve().is_relative_to(folder.resolve()):
            return True
    return False
