"""`rlm inputs`: what a run would get of its inputs, and what the root model would be told, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from rlm.commands import options
from rlm.commands.console import print_json, print_line, say

SETTINGS = (
    *("include", "exclude", "no_ignore", "max_documents", "convert_timeout", "max_download", "allow_private_urls"),
    *("loaders", "sandbox", "memory"),
)


@options.takes_settings(only=SETTINGS)
def inputs(
    ctx: typer.Context,
    given: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files, folders, globs, archives, URLs, or -.", show_default=False),
    ],
    *,
    hashes: Annotated[bool, typer.Option("--hash/--no-hash", help="Read everything for its SHA-256.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object: inputs, preview, notices, bytes.")] = False,
) -> None:
    """Show what `rlm ask` would make of the INPUTs: name, type, size, hash, and the preview that the model sees.

    Documents are converted and URLs fetched as in a run, into a folder that
    is removed afterwards. No model is asked and no sandbox is started.
    """
    from rlm.context import Choice, prepare
    from rlm.kernels.scratch import scratch_dir
    from rlm.layers import load_settings

    settings = load_settings(options.given(ctx.params))
    with scratch_dir() as scratch:
        prepared = prepare(
            given,
            spool_dir=scratch,
            memory=settings.memory,
            foreign_uid=settings.sandbox != "process",
            choice=Choice.of(settings),
        )
        known = prepared.sha256() if hashes else {}
    items = [{**item, **({"sha256": known[item["name"]]} if hashes else {})} for item in prepared.manifest]
    for notice in prepared.notices:
        say(notice)
    if as_json:
        shown = {"inputs": items, "preview": prepared.preview, "notices": prepared.notices, "bytes": prepared.bytes}
        print_json(shown)
        return
    for item in items:
        print_line(_line(item))
    print_line("")
    for line in prepared.preview.split("\n"):
        print_line(line)


def _line(item: Mapping[str, Any]) -> str:
    files = f", {item['files']:,} files" if item["kind"] == "files" else ""
    characters = "" if item["characters"] is None else f", {item['characters']:,} characters"
    digest = f", sha256 {item['sha256']}" if "sha256" in item else ""
    name = " ".join(str(item["name"]).split())
    return f"{name}: {item['type']}{files}, {item['bytes']:,} bytes{characters}{digest}"
