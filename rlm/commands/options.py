"""The options of a run, each declared once for all the commands that start runs.

A command says with `takes_settings` which it has; `given` collects those that were given.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from rlm.commands import complete
from rlm.commands.help import option_help
from rlm.errors import ConfigError


def _option(
    field: str, panel: str, *names: str, metavar: str | None = None, completer: complete.Completer | None = None
) -> Any:
    return typer.Option(
        *names,
        help=option_help(field),
        rich_help_panel=panel,
        metavar=metavar,
        show_default=False,
        autocompletion=completer or complete.one_of(metavar),
    )


_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]+")
_MODELS, _TREE, _LIMITS = "Models", "Recursion and tools", "Limits"
_PROVIDERS = "auto|openai|vllm|ollama|openrouter|anthropic|unknown"
_INPUT, _SANDBOX, _PROMPTS, _OUTPUT = "Input", "Sandbox", "Prompts", "Output"

Sandbox = Annotated[str | None, _option("sandbox", _SANDBOX, metavar="auto|docker|bwrap|process")]
Runtime = Annotated[str | None, _option("runtime", _SANDBOX, metavar="NAME")]
TraceDir = Annotated[Path | None, _option("trace_dir", _OUTPUT, metavar="DIR")]

SETTINGS: Mapping[str, Any] = {
    "model": Annotated[str | None, _option("model", _MODELS)],
    "sub_model": Annotated[str | None, _option("sub_model", _MODELS)],
    "models": Annotated[str | None, _option("models", _MODELS, metavar="ROOT,CHILD,…")],
    "base_url": Annotated[str | None, _option("base_url", _MODELS, metavar="URL")],
    "sub_base_url": Annotated[str | None, _option("sub_base_url", _MODELS, metavar="URL")],
    "api": Annotated[str | None, _option("api", _MODELS, metavar="chat|responses")],
    "sub_api": Annotated[str | None, _option("sub_api", _MODELS, metavar="chat|responses")],
    "provider": Annotated[str | None, _option("provider", _MODELS, metavar=_PROVIDERS)],
    "root_params": Annotated[list[str] | None, _option("root_params", _MODELS, "--param", metavar="KEY=VALUE")],
    "sub_params": Annotated[list[str] | None, _option("sub_params", _MODELS, "--sub-param", metavar="KEY=VALUE")],
    "native_tools": Annotated[bool, _option("native_tools", _MODELS, "--native-tools")],
    "headers": Annotated[list[str] | None, _option("headers", _MODELS, "--header", metavar="NAME: VALUE")],
    "context_window": Annotated[int | None, _option("context_window", _MODELS, metavar="TOKENS")],
    "sub_context_window": Annotated[int | None, _option("sub_context_window", _MODELS, metavar="TOKENS")],
    "sub_max_tokens": Annotated[int | None, _option("sub_max_tokens", _MODELS, metavar="TOKENS")],
    "request_timeout": Annotated[float | None, _option("request_timeout", _MODELS, metavar="SECONDS")],
    "concurrency": Annotated[int | None, _option("concurrency", _MODELS, metavar="N")],
    "route": Annotated[str | None, _option("route", _TREE, metavar="rlm|auto|llm")],
    "route_chars": Annotated[int | None, _option("route_chars", _TREE, metavar="N")],
    "depth": Annotated[int | None, _option("depth", _TREE, metavar="N")],
    "child_concurrency": Annotated[int | None, _option("child_concurrency", _TREE, metavar="N")],
    "tools": Annotated[list[str] | None, _option("tools", _TREE, "--tool", metavar="MODULE:FUNCTION")],
    "mcp": Annotated[list[str] | None, _option("mcp", _TREE, "--mcp", metavar="COMMAND|URL")],
    "sub_max_turns": Annotated[int | None, _option("sub_max_turns", _TREE, metavar="N")],
    "functions": Annotated[list[str] | None, _option("functions", _TREE, "--function", metavar="NAME=MODULE:FUNCTION")],
    "auto_parallel": Annotated[bool | None, _option("auto_parallel", _TREE, "--auto-parallel/--no-auto-parallel")],
    "cache": Annotated[Path | None, _option("cache", _TREE, metavar="DIR")],
    "compact_at": Annotated[float | None, _option("compact_at", _TREE, metavar="SHARE")],
    "max_turns": Annotated[int | None, _option("max_turns", _LIMITS, metavar="N")],
    "max_sub_calls": Annotated[int | None, _option("max_sub_calls", _LIMITS, metavar="N")],
    "max_tokens": Annotated[int | None, _option("max_tokens", _LIMITS, metavar="N")],
    "max_cost": Annotated[float | None, _option("max_cost", _LIMITS, metavar="MONEY")],
    "timeout": Annotated[float | None, _option("timeout", _LIMITS, metavar="SECONDS")],
    "cell_timeout": Annotated[float | None, _option("cell_timeout", _LIMITS, metavar="SECONDS")],
    "output_limit": Annotated[int | None, _option("output_limit", _LIMITS, metavar="N")],
    "include": Annotated[list[str] | None, _option("include", _INPUT, "--include", metavar="GLOB")],
    "exclude": Annotated[list[str] | None, _option("exclude", _INPUT, "--exclude", metavar="GLOB")],
    "no_ignore": Annotated[bool, _option("no_ignore", _INPUT, "--no-ignore")],
    "max_documents": Annotated[int | None, _option("max_documents", _INPUT, metavar="N")],
    "convert_timeout": Annotated[float | None, _option("convert_timeout", _INPUT, metavar="SECONDS")],
    "max_download": Annotated[str | None, _option("max_download", _INPUT, metavar="SIZE")],
    "allow_private_urls": Annotated[bool, _option("allow_private_urls", _INPUT, "--allow-private-urls")],
    "loaders": Annotated[list[str] | None, _option("loaders", _INPUT, "--loader", metavar=".EXT=MODULE:FUNCTION")],
    "sandbox": Sandbox,
    "runtime": Runtime,
    "memory": Annotated[str | None, _option("memory", _SANDBOX, metavar="SIZE")],
    "cpus": Annotated[float | None, _option("cpus", _SANDBOX, metavar="N")],
    "packages": Annotated[list[str] | None, _option("packages", _SANDBOX, "--package", metavar="NAME")],
    "allow_install": Annotated[
        list[str] | None, _option("allow_install", _SANDBOX, "--allow-install", metavar="NAME,…")
    ],
    "prompt": Annotated[str | None, _option("prompt", _PROMPTS, metavar="NAME|FILE", completer=complete.root_prompts)],
    "tips": Annotated[str | None, _option("tips", _PROMPTS, metavar="TEXT|FILE")],
    "cite": Annotated[bool, _option("cite", _PROMPTS, "--cite")],
    "trace_dir": TraceDir,
    "no_trace": Annotated[bool, _option("no_trace", _OUTPUT, "--no-trace")],
    "otel": Annotated[bool, _option("otel", _OUTPUT, "--otel")],
}
"""The options that set a field of `Settings`, by its name, in the order of the help."""

RunMaxCost = Annotated[float | None, _option("max_cost", _LIMITS, "--run-max-cost", metavar="MONEY")]
"""The limit on one run, where --max-cost is the limit on all of them."""

RUN_HELP = "The run's id, its beginning or end, or its folder"


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of runs, or their short names, for the shell. The configuration is not read: it may be in the making."""
    from rlm.commands.runlist import short_names
    from rlm.trace.reader import traces

    # The name of a folder may hold anything, and a shell's line is no place for it.
    ids = [trace.run_id for trace in traces(ctx.params.get("trace_dir")) if _PLAIN_ID.fullmatch(trace.run_id)]
    whole = [id_ for id_ in ids if id_.startswith(incomplete)]
    return whole or [name for name in short_names(ids).values() if name.startswith(incomplete)]


Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help=f"{RUN_HELP}; the latest run when not given.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON object instead of the answer.", rich_help_panel=_OUTPUT),
]
StreamJson = Annotated[
    bool,
    typer.Option(
        "--stream-json",
        help="Print the run's events as they happen, one JSON object per line: the records of the trace.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Show no progress on stderr, only errors: --display none, and no word of an interrupt.",
        rich_help_panel=_OUTPUT,
    ),
]
DisplayKind = Literal["rich", "plain", "json", "none"]
Display = Annotated[
    DisplayKind | None,
    typer.Option(
        "--display",
        metavar="rich|plain|json|none",
        help="Progress on stderr: rich is a live tree of the run, on a terminal; plain are lines; json are the events, "
        "one per line. By default rich on a terminal and plain elsewhere; none with --stream-json.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]


def takes_settings(
    *, only: Iterable[str] = SETTINGS, without: Iterable[str] = (), **instead: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these settings; it finds them by `given(ctx.params)`.

    They come after its own parameters and before its keyword-only ones. `instead` replaces declarations, by field.
    """
    chosen = [field for field in SETTINGS if field in set(only) - set(without)]
    declared = [
        Parameter(field, Parameter.KEYWORD_ONLY, default=_nothing(declaration), annotation=declaration)
        for field in chosen
        for declaration in (instead.get(field, SETTINGS[field]),)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command, eval_str=True).parameters.values())
        first = [each for each in own if each.kind is not Parameter.KEYWORD_ONLY]
        last = [each for each in own if each.kind is Parameter.KEYWORD_ONLY]

        @functools.wraps(command)
        def with_settings(**parameters: Any) -> None:
            return command(**{each.name: parameters[each.name] for each in own})

        everything = [*first, *declared, *last]
        with_settings.__signature__ = Signature(everything)  # type: ignore[attr-defined]
        with_settings.__annotations__ = {each.name: each.annotation for each in everything}
        return with_settings

    return decorate


def check_output(*, as_json: bool, stream_json: bool, quiet: bool, display: DisplayKind | None) -> None:
    """Raises `ConfigError` for options of the output that contradict each other."""
    if as_json and stream_json:
        raise ConfigError("--json and --stream-json both want stdout: choose one")
    if quiet and display not in (None, "none"):
        raise ConfigError(f"--quiet and --display {display} contradict each other: choose one")


def runs_place(trace_dir: Path | None) -> Path | None:
    """The folder of runs that a command is about, if it is not the usual one: as given, else as configured."""
    from rlm.layers import load_settings

    return trace_dir or load_settings().trace_dir


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's parsed parameters (`ctx.params`), as far as they were given.

    Raises `ConfigError` for a pair that is none.
    """
    settings = {name: value for name, value in parameters.items() if name in SETTINGS and _was_given(value)}
    if parameters.get("auto_parallel") is False:  # it is on unless switched off
        settings["auto_parallel"] = False
    for name, option in (("root_params", "--param"), ("sub_params", "--sub-param")):
        if name in settings:
            settings[name] = dict(_parameter(option, pair) for pair in settings[name])
    for name, option, form in (
        ("functions", "--function", "NAME=MODULE:FUNCTION"),
        ("loaders", "--loader", ".EXT=MODULE:FUNCTION"),
    ):
        if name in settings:
            settings[name] = dict(_place(option, form, pair) for pair in settings[name])
    if "models" in settings:
        settings["models"] = [name.strip() for name in settings["models"].split(",") if name.strip()]
    if "headers" in settings:
        settings["headers"] = dict(_header(line) for line in settings["headers"])
    if "allow_install" in settings:
        settings["allow_install"] = [
            name.strip() for names in settings["allow_install"] for name in names.split(",") if name.strip()
        ]
    return settings


def _nothing(declaration: Any) -> bool | None:
    """The value of an option that was not given."""
    return False if get_args(declaration)[0] is bool else None


def _was_given(value: Any) -> bool:
    # A 0 was given; an option that may be repeated and was not is an empty list or tuple.
    return value is not None and value is not False and value not in ([], ())


def _parameter(option: str, pair: str) -> tuple[str, Any]:
    """`temperature=0.2` -> `("temperature", 0.2)`; a value that is not JSON is a string."""
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise ConfigError(f"{option}: {pair!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _place(option: str, form: str, pair: str) -> tuple[str, str]:
    name, equals, place = pair.partition("=")
    if not name or not equals:
        raise ConfigError(f"{option}: {pair!r} is not {form}")
    return name, place


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not name.strip() or not colon:
        # The value may be a key: it is not repeated.
        raise ConfigError("--header: not of the form 'NAME: VALUE'")
    return name.strip(), value.strip()
