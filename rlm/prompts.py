"""Renders the texts of `prompts/`: no code holds a prompt, and an undefined name in one is an error."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template
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


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,.1f}"


def render(name: str, **values: Any) -> str:
    """The shipped prompt `name`, e.g. `observation`."""
    return _environment().get_template(f"{name}.md").render(**values).strip()


def render_root(prompt: str | None, **values: Any) -> str:
    """The root prompt: the shipped one, a shipped one by name, or a file. Raises `ConfigError`."""
    try:
        return _compiled(_root_source(prompt)).render(**values).strip()
    except ConfigError:
        raise
    except Exception as error:
        # A user's template can fail in any way that its expressions can.
        raise ConfigError(f"prompt {prompt or 'root'!r}: {str(error) or type(error).__name__}") from None


def tips_text(tips: str | None) -> str:
    """Tips as given, or those of the file that is named. Raises `ConfigError`."""
    if tips is None or not _is_file(tips):
        return (tips or "").strip()
    return _read(Path(tips).expanduser()).strip()


def _root_source(prompt: str | None) -> str:
    name = prompt or "root"
    shipped = asset_dir("prompts") / f"{name}.md"
    if name.isidentifier() and shipped.is_file():
        return _read(shipped)
    if not _is_file(name):
        raise ConfigError(f"prompt: {name!r} is neither a shipped prompt nor a file")
    return _read(Path(name).expanduser())


def _is_file(name: str) -> bool:
    # A tip may be a text of any length, which no path can be.
    return "\n" not in name and len(name) < 1024 and Path(name).expanduser().is_file()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
