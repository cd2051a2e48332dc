"""Renders the texts of `prompts/`: no code holds a prompt, and an undefined name in one is an error."""

from __future__ import annotations

import traceback
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlm.assets import asset_dir
from rlm.errors import ConfigError


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    # Sandboxed: the root prompt may be a file of a project that somebody else wrote.
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(asset_dir("prompts")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["number"] = _number
    return environment


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,.1f}"


def render(name: str, **values: Any) -> str:
    """The shipped prompt `name`, e.g. `observation`."""
    return _environment().get_template(f"{name}.md").render(**values).strip()


def render_root(prompt: str | None, **values: Any) -> str:
    """The root prompt: the shipped one, a shipped one by name, or a file. Raises `ConfigError`."""
    place, source = _root_source(prompt)
    try:
        return _template(source, place).render(**values).strip()
    except Exception as error:
        # A user's template can fail in any way that its expressions can.
        line = _line(error, place)
        where = f"{place}, line {line}" if line else place
        raise ConfigError(f"prompt {where}: {_reason(error)}") from None


@lru_cache(maxsize=8)
def _template(source: str, place: str) -> Template:
    """A template whose lines are told by their place in tracebacks."""
    environment = _environment()
    code = environment.compile(source, filename=place)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _line(error: Exception, place: str) -> int | None:
    """The line of the template at which it failed."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == place]
    return lines[-1] if lines else None


def _reason(error: Exception) -> str:
    told = (error.message if isinstance(error, TemplateSyntaxError) else str(error)) or type(error).__name__
    return f"{told}; docs/prompts.md lists the variables" if isinstance(error, UndefinedError) else told


class Shipped(NamedTuple):
    """A text that comes with rlm."""

    name: str
    """Of its file, without `.md`; `tips/NAME` for advice on one kind of task."""
    about: str
    """One line: to whom it is said, and when."""
    text: str
    """The template."""


def shipped() -> list[Shipped]:
    """All of them by name, the tips last."""
    folder = asset_dir("prompts")
    prompts = [Shipped(path.stem, *_described(_read(path))) for path in sorted(folder.glob("*.md"))]
    tips = sorted((folder / "tips").glob("*.md"))
    return prompts + [Shipped(f"tips/{each.stem}", f"tips for `rlm eval {each.stem}`", _read(each)) for each in tips]


def _described(source: str) -> tuple[str, str]:
    """What a template says of itself in the comment of its first line, and the rest of it."""
    first, _, rest = source.partition("\n")
    return first.removeprefix("{#").removesuffix("#}").strip(), rest


def tips_text(tips: str | None) -> str:
    """Tips as given, or those of the file that is named. Raises `ConfigError`."""
    if tips is None or not _is_file(tips):
        return (tips or "").strip()
    return _read(Path(tips).expanduser()).strip()


def _root_source(prompt: str | None) -> tuple[str, str]:
    """Its place and its text."""
    name = prompt or "root"
    own = asset_dir("prompts") / f"{name}.md"
    if name.isidentifier() and own.is_file():
        return name, _read(own)
    if not _is_file(name):
        raise ConfigError(f"prompt: {name!r} is neither a shipped prompt nor a file")
    return name, _read(Path(name).expanduser())


def _is_file(name: str) -> bool:
    # A tip may be a text of any length, which no path can be.
    return "\n" not in name and len(name) < 1024 and Path(name).expanduser().is_file()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
