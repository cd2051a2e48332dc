"""`rlm demo`: the main job on this machine, with scripted models in place of real ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from rlm.commands import options
from rlm.commands.console import say
from rlm.errors import SandboxError


def demo(sandbox: options.Sandbox = None, trace_dir: options.TraceDir = None) -> None:
    """Run the whole machinery over Python's own sources, with scripted models: no key and no network needed.

    The endpoint, the sandbox, the code, its parallel sub-calls and the trace
    are real; only what the two models say is fixed beforehand.
    """
    from rlm.commands.running import Output, run_and_report
    from rlm.demo import script
    from rlm.demo.sources import stage_sources
    from rlm.layers import check_settings
    from rlm.testing import ScriptedModelServer

    replies = {script.ROOT_MODEL: script.root_replies(), script.SUB_MODEL: script.sub_reply}
    with (
        tempfile.TemporaryDirectory(prefix="rlm-demo-") as folder,
        ScriptedModelServer(replies, chunk_delay=0.01) as server,
    ):
        sources = stage_sources(Path(folder))
        say("scripted model: fixed replies, no LLM")
        say(f"a built-in endpoint at {server.base_url} plays the root model and the sub-model; all else is real")
        say(f"input: {sources.files:,} source files of Python's standard library, {sources.bytes / 1e6:.1f} MB")
        settings = check_settings(
            model=script.ROOT_MODEL,
            sub_model=script.SUB_MODEL,
            base_url=server.base_url,
            sandbox=sandbox or best_sandbox(),
            **({"trace_dir": trace_dir} if trace_dir else {}),
        )
        code = run_and_report(settings, script.QUESTION, [str(sources.path)], Output())
        say(f"{server.request_count} requests, at most {server.max_in_flight} of them at the same time")
    raise typer.Exit(code)


def best_sandbox() -> str:
    """The strongest sandbox that starts here; what it needs is built. Without any, scripted code needs none."""
    import asyncio

    from rlm.kernels.select import Name, choose

    names: tuple[Name, ...] = ("docker", "bwrap")
    for name in names:
        try:
            asyncio.run(choose(name, progress=say))
        except SandboxError as error:
            say(f"no {name} here: {error}")
        else:
            return name
    say("no sandbox works here (see: rlm doctor), so the code, which is scripted, runs as a plain process")
    return "process"
