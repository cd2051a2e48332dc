"""The calls ahead of one run of one loop: foreseen, sent in batches, and handed out as the loop asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from json import dumps, loads
from typing import Any, NamedTuple

from guest import wire
from guest.batches import OpenBatch
from guest.bridge import BridgeClosed
from guest.calls import SubCalls
from guest.loopsim import Ask, Simulation
from guest.purevalues import TEXTS, Caution, Doubtful, kind_of
from guest.results import CallError

MAX_AHEAD = 16 << 20
"""Characters of prompts that are under way ahead of a loop."""
PATIENCE = 0.1
"""Seconds to foresee prompts before those that are ready are sent."""
GONE = (BridgeClosed, wire.WireError)

Mark = tuple[type, str]
"""What tells a prompt from every other: whether it is a str, and its text or its JSON."""


class Foreseen(NamedTuple):
    mark: Mark
    prompt: Any


class Sent(NamedTuple):
    mark: Mark
    batch: OpenBatch
    at: int


class Lookahead:
    """Raises `Doubtful` where there are not at least two calls to come."""

    def __init__(self, simulation: Simulation, iterable: Any, calls: SubCalls, *, width: int, number: int) -> None:
        self.number = number
        self.on_close: Callable[[], None] = _nothing
        self._caution = simulation.caution
        self._asks: Iterator[Ask] = simulation.asks(iterable)
        self._calls = calls
        self._width = width
        self._line = simulation.line
        self._options: str | None = None
        """Those of all calls, as JSON."""
        self._foreseen: deque[Foreseen] = deque()
        self._sent: deque[Sent] = deque()
        self._size = 0
        self._over = False
        """No more is foreseen."""
        self._closed = False
        self._foresee(2)
        if len(self._foreseen) < 2:
            raise Doubtful("not two calls")

    def close(self) -> None:
        """Leave the loop alone from here on; what it has not asked for is cancelled. From any thread."""
        if self._closed:
            return
        self._closed = True
        on_close, self.on_close = self.on_close, _nothing
        on_close()
        for batch in {id(sent.batch): sent.batch for sent in self._sent.copy()}.values():
            try:
                batch.drop()
            except GONE:
                continue

    def answer(self, query: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What `query(*args, **options)`, which is `llm_query`, gives or raises."""
        outcome = None
        try:
            outcome = self._take(*args, **options)
        except BaseException as error:
            self.close()
            if not isinstance(error, Exception) or raised_in_cell(error):
                raise
        if outcome is not None:
            return outcome
        self.close()
        return query(*args, **options)

    def _take(self, prompt: Any, **options: Any) -> Any:
        """The outcome of the loop's next call; None if it has to be made as written."""
        upcoming = self._sent or self._foreseen
        if self._closed or not upcoming or _mark(prompt, Caution()) != upcoming[0].mark:
            return None
        if _json(options, Caution()) != self._options:
            return None
        self._top_up()
        if not self._sent:
            return None
        sent = self._sent.popleft()
        self._size -= len(sent.mark[1])
        if _cancelled(sent.batch.arrived(sent.at)):
            # Stopped while it was ahead. The loop asks only now.
            return None
        outcome = sent.batch.result(sent.at)
        if (self._over and not self._sent) or _cancelled(outcome):
            # As written, only this call would have been under way when it was stopped.
            self.close()
        return outcome

    def _top_up(self) -> None:
        """Send more once a quarter of the width is free."""
        room = self._width - len(self._sent)
        if self._sent and room < max(1, self._width // 4):
            return
        self._caution.forget()
        self._foresee(room)
        if self._foreseen and not self._closed:
            prompts = [foreseen.prompt for foreseen in self._foreseen]
            batch = self._calls.open(prompts, loop=self._line, **loads(self._options or "{}"))
            self._sent += [Sent(foreseen.mark, batch, at) for at, foreseen in enumerate(self._foreseen)]
            self._foreseen.clear()

    def _foresee(self, count: int) -> None:
        """Up to `count` prompts that are not sent yet."""
        until = time.monotonic() + PATIENCE
        while not self._over and len(self._foreseen) < count:
            if len(self._foreseen) >= 2 and (time.monotonic() > until or self._size > MAX_AHEAD):
                return
            try:
                foreseen = self._next()
            except Exception as error:
                if raised_in_cell(error):
                    raise
                # The loop as written is to find out what is wrong with this one, or that it was the last.
                self._over = True
            else:
                self._foreseen.append(foreseen)
                self._size += len(foreseen.mark[1])

    def _next(self) -> Foreseen:
        prompt, options = next(self._asks)
        mark, written = _mark(prompt, self._caution), _json(options, self._caution)
        if self._options is None:
            self._options = written
        if self._options != written:
            raise Doubtful("options that differ")
        # What is sent is what was compared, whatever becomes of the objects.
        return Foreseen(mark, mark[1] if mark[0] is str else loads(mark[1]))


def _nothing() -> None: ...


def _cancelled(outcome: Any) -> bool:
    return isinstance(outcome, CallError) and outcome.kind == "cancelled"


def _mark(prompt: Any, caution: Caution) -> Mark:
    return (str, str(prompt)) if kind_of(prompt) in TEXTS else (type(prompt), _json(prompt, caution))


def _json(value: Any, caution: Caution) -> str:
    caution.plain(value)
    return dumps(value)


def raised_in_cell(error: BaseException) -> bool:
    """Whether it comes from code of a cell that ran in the middle of ours, such as a signal handler's."""
    tb = error.__traceback__
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith("<cell"):
        tb = tb.tb_next
    return tb is not None
