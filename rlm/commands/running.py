"""A run on behalf of a command: display, signals, the result on stdout, the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rlm import parts
from rlm.commands.citing import print_citations
from rlm.commands.consent import TerminalConsent
from rlm.commands.console import debug_traceback, print_answer, print_json, say, say_error
from rlm.commands.telemetry import spans
from rlm.config import Settings
from rlm.display import Display, Kind, open_display
from rlm.display.stream_json import StreamJson
from rlm.errors import RLMError, UserError
from rlm.events import Event, Sink
from rlm.record import Record
from rlm.result import RunResult
from rlm.run import Run
from rlm.trace.secrets import secrets_of

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Output:
    """What the user wants to see."""

    json: bool = False
    stream_json: bool = False
    quiet: bool = False
    display: Kind | None = None
    """What shows progress on stderr; by default what fits it, and nothing with `stream_json`."""

    @property
    def shown(self) -> Kind | None:
        return "none" if self.display is None and (self.quiet or self.stream_json) else self.display


def run_and_report(
    settings: Settings, question: str, inputs: Sequence[str], output: Output, *, record: Record | None = None
) -> int:
    """Play one run and print what it came to; returns the exit code.

    The first SIGINT or SIGTERM ends the run with its best draft, the second one ends this process at once.
    With a `record` that run is taken up again. Raises `UserError`; every other failure is part of what is printed.
    """
    reap()
    with spans(settings) as listeners:
        session = _Session(settings, question, inputs, output, record, listeners)
        try:
            code = asyncio.run(session.play()).exit_code
        except UserError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            debug_traceback()
            code = session.broke_down(error)
        finally:
            session.display.close()
        report(session.result, output)
    return code


@dataclass
class _Session:
    """One run, what shows it, and what stops it."""

    settings: Settings
    question: str
    inputs: Sequence[str]
    output: Output
    record: Record | None = None
    listeners: Sequence[Sink] = ()
    display: Display = field(init=False)
    _stream: list[Sink] = field(default_factory=list)
    result: Mapping[str, Any] = field(default_factory=dict)
    """The object of `RunResult.to_dict()`, once the run is over."""
    _run: Run | None = None
    _signals: int = 0
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        secrets = secrets_of(self.settings)
        price = parts.prices(self.settings).cost
        self.display = open_display(self.output.shown, price=price, secrets=secrets)
        if self.output.stream_json:
            self._stream = [StreamJson(sys.stdout.buffer, secrets=secrets, on_gone=self._interrupt)]

    async def play(self) -> RunResult:
        consent = TerminalConsent(self.display) if TerminalConsent.possible() else None
        sinks: list[Sink] = [*self._stream, self.display, self._keep_result, *self.listeners]
        self._run = Run(self.settings, self.question, self.inputs, sinks=sinks, confirm=consent, record=self.record)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            return await self._run.play()
        finally:
            # The loop waits for its threads before it ends, and one may be waiting for a yes.
            if consent is not None:
                consent.withdraw()

    def broke_down(self, error: BaseException) -> int:
        """The exit code of a run that raised. Unless it had still told its result, this makes one."""
        failure = None if isinstance(error, asyncio.CancelledError) else error
        broken = RunResult.without_run(
            failure, run_id=self._run.id if self._run else "", seconds=time.monotonic() - self._started
        )
        self.result = self.result or broken.to_dict()
        return broken.exit_code

    def _keep_result(self, event: Event) -> None:
        if event["type"] == "run.completed":
            self.result = event["result"]

    def _interrupt(self) -> None:
        if self._run is not None:
            self._run.interrupt()

    def _stop(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._leave()
        if not self.output.quiet:
            say("interrupted: ending the run with its best draft (once more: end at once)")
        self._interrupt()

    def _leave(self) -> NoReturn:
        """End this process now. Nothing is left behind: the sandbox ends with the pipe to it."""
        try:
            if self._run is not None and not self.result:
                self._run.abandon()
            self.display.close()
            if self.result:
                report(self.result, self.output)
        finally:
            os._exit(INTERRUPTED)


def reap() -> None:
    """Remove what the commands of dead processes left; a failure of that is no reason not to run."""
    from rlm.kernels import leases, scratch

    try:
        leases.reap()
        scratch.reap()
    except (RLMError, OSError) as error:
        say(f"note: leftovers of earlier runs could not be removed: {error}")


def report(result: Mapping[str, Any], output: Output) -> None:
    """Print the object of `RunResult.to_dict()` as the user wants it."""
    if output.json:
        print_json(result)
    elif result["answer"] and not output.stream_json:
        print_answer(result["answer"])
        if result.get("citations") is not None:
            print_citations(result["citations"])
    if result["error"]:
        say_error(result["error"]["message"])
