"""`rlm config show|path`: the settings that hold here, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlm.commands import options
from rlm.commands.console import print_json, print_line
from rlm.errors import ConfigError

if TYPE_CHECKING:
    from rlm.layers import Told

app = typer.Typer(no_args_is_help=True, help="Show the settings that hold here, and where each comes from.")

_LONGEST = 60
"""Characters of a value in the table."""


@app.command("show")
@options.takes_settings()
def show(
    ctx: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object with all of it.")] = False,
) -> None:
    """Show each setting with its value and its source, as `rlm ask` in this folder would have it.

    Options may be given to see what they change. Keys are never shown, only
    whether they are set; nor are the values of headers, and of parameters whose
    names are those of keys.

    Exit codes: 0, or 2 if a value is wrong or a file cannot be read.
    """
    from rlm.layers import explain_settings

    told = explain_settings(options.given(ctx.params))
    wrong = [each for each in told if each.problem]
    if as_json:
        print_json({"ok": not wrong, "settings": {each.name: _entry(each) for each in told}})
    else:
        for line in _table(told):
            print_line(line)
    if wrong:
        raise ConfigError("; ".join(f"{each.source}: {each.name}{each.problem}" for each in wrong))


@app.command("path")
def path() -> None:
    """Print where the user's own configuration file is, or would be."""
    from rlm.layers import user_file

    print_line(str(user_file()))


def _entry(told: Told) -> dict[str, Any]:
    entry: dict[str, Any] = {"value": shown(told.name, told.value), "source": told.source}
    return {**entry, "problem": told.problem.removeprefix(": ")} if told.problem else entry


def _table(told: list[Told]) -> list[str]:
    rows = [(each.name, f"wrong{each.problem}" if each.problem else _cell(each), each.source) for each in told]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows]


def _cell(told: Told) -> str:
    value = shown(told.name, told.value)
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def shown(name: str, value: Any) -> Any:
    """A setting's value as plain JSON, without anything that may be a key."""
    from rlm.config import may_hold_keys, names_a_secret

    if hasattr(value, "get_secret_value") or name in ("api_key", "sub_api_key"):
        return "set" if value is not None and value.get_secret_value() else "not set"
    if name in ("base_url", "sub_base_url") and value is not None:
        address, query, _ = value.partition("?")
        scheme, slashes, rest = address.rpartition("://")
        return scheme + slashes + rest.rpartition("@")[2] + ("?…" if query else "")
    if may_hold_keys(name, value):
        return dict.fromkeys(value, "…") if isinstance(value, Mapping) else ["…" for _ in value]
    if name in ("root_params", "sub_params"):
        return {key: "…" if names_a_secret(key) else each for key, each in value.items()}
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
