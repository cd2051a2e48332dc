"""The calls ahead of one run of one loop: foreseen, sent in batches, and handed out as the loop asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from guest.batches import OpenBatch
from guest.bridge import BridgeClosed
from guest.callmarks import Prompt, copy_options, copy_prompt, mark_options, mark_prompt
from guest.calls import SubCalls
from guest.loopsim import Ask, Simulation
from guest.purevalues import Caution, Doubtful
from guest.results import CallError

MAX_AHEAD = 16 << 20
"""Characters of prompts that are under way ahead of a loop."""
PATIENCE = 0.1
"""Seconds to foresee prompts before those that are ready are sent."""

AS_WRITTEN = object()
"""Instead of an outcome: the call is to be made."""


class Sent(NamedTuple):
    mark: Prompt
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
        self._options: dict[str, Any] = {}
        """Those of all calls."""
        self._options_mark: Hashable = None
        self._foreseen: deque[Prompt] = deque()
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
            except BridgeClosed:
                # Nobody is there to be told.
                continue

    def answer(self, query: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """What `query(*args, **options)`, which is `llm_query`, gives or raises."""
        outcome = AS_WRITTEN
        try:
            outcome = self._take(*args, **options)
        except BaseException as error:
            self.close()
            if not isinstance(error, Exception) or raised_in_cell(error):
                raise
        if outcome is not AS_WRITTEN:
            return outcome
        self.close()
        return query(*args, **options)

    def _take(self, /, prompt: Any, **options: Any) -> Any:
        """The outcome of the loop's next call, or `AS_WRITTEN`."""
        upcoming = self._sent[0].mark if self._sent else self._foreseen[0] if self._foreseen else None
        if self._closed or mark_prompt(prompt, Caution()) != upcoming:
            return AS_WRITTEN
        if mark_options(options, Caution()) != self._options_mark:
            return AS_WRITTEN
        self._top_up()
        if not self._sent:
            return AS_WRITTEN
        sent = self._sent.popleft()
        self._size -= len(sent.mark[1])
        if _cancelled(sent.batch.arrived(sent.at)):
            # Stopped while it was ahead. The loop asks only now.
            return AS_WRITTEN
        outcome = sent.batch.result(sent.at)
        if sent.batch.arrived(sent.at) is None:
            # Dropped, while this thread waited for it.
            return AS_WRITTEN
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
            batch = self._calls.open(list(map(copy_prompt, self._foreseen)), loop=self._line, **self._options)
            self._sent += [Sent(mark, batch, at) for at, mark in enumerate(self._foreseen)]
            self._foreseen.clear()

    def _foresee(self, count: int) -> None:
        """Up to `count` prompts that are not sent yet."""
        until = time.monotonic() + PATIENCE
        while not self._over and len(self._foreseen) < count:
            if len(self._foreseen) >= 2 and (time.monotonic() > until or self._size > MAX_AHEAD):
                return
            try:
                mark = self._next()
            except Exception as error:
                if raised_in_cell(error):
                    raise
                # The loop as written is to find out what is wrong with this one, or that it was the last.
                self._over = True
            else:
                self._foreseen.append(mark)
                self._size += len(mark[1])

    def _next(self) -> Prompt:
        prompt, options = next(self._asks)
        mark, options_mark = mark_prompt(prompt, self._caution), mark_options(options, self._caution)
        if self._options_mark is None:
            # What is sent is what was compared, whatever becomes of the objects.
            self._options, self._options_mark = copy_options(options), options_mark
        if self._options_mark != options_mark:
            raise Doubtful("options that differ")
        return mark


def _nothing() -> None: ...


def _cancelled(outcome: Any) -> bool:
    return isinstance(outcome, CallError) and outcome.kind == "cancelled"


def raised_in_cell(error: BaseException) -> bool:
    """Whether it comes from code of a cell that ran in the middle of ours, such as a signal handler's."""
    tb = error.__traceback__
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith("<cell"):
        tb = tb.tb_next
    return tb is not None
