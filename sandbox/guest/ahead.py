"""Serial loops over `llm_query` at the speed of one batch: their calls are under way before they are asked for.

The loop itself runs as it is written. A call that was foreseen is answered from those under way if the
loop asks exactly what was foreseen; at the first difference, and where nothing more can be foreseen, the
loop is left alone: what it has not asked for is cancelled, and every further call is made as written.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from types import MethodType
from typing import Any

from guest import loops
from guest.calls import SubCalls
from guest.lookahead import Lookahead, raised_in_cell
from guest.loopsim import Simulation


class Ahead:
    """The lookaheads of one kernel: at most one per thread and `llm_query` in the code."""

    def __init__(self, calls: SubCalls, *, width: int) -> None:
        self.rewriter = loops.Rewriter()
        self._calls = calls
        self._width = width
        self._active: dict[tuple[int, int], Lookahead] = {}

    def install(self, transformers: list[Any]) -> None:
        """From the next cell on. The hooks are builtins, so that code finds them wherever it is called."""
        transformers.append(self.rewriter)
        setattr(builtins, loops.AHEAD, self.ahead)
        setattr(builtins, loops.PICK, self.pick)

    def ahead(self, number: int, iterable: Any, *thunks: Callable[[], Any]) -> Any:
        """Where loop `number` begins: the iterable, or an iterator over its elements that ends the lookahead."""
        try:
            return self._begin(number, iterable, thunks)
        except Exception as error:
            if raised_in_cell(error):
                raise
            return iterable

    def pick(self, call: int, query: Any) -> Any:
        """In the place of `llm_query`: what the name stands for, or what answers like it."""
        lookahead = self._active.get((threading.get_ident(), call))
        if lookahead is None:
            return query
        if type(query) is MethodType and query == self._calls.llm_query:
            return partial(lookahead.answer, query)
        lookahead.close()
        return query

    def end_cell(self) -> None:
        """Nothing is under way beyond its cell."""
        for lookahead in list(self._active.values()):
            lookahead.close()

    def _begin(self, number: int, iterable: Any, thunks: tuple[Callable[[], Any], ...]) -> Any:
        loop = self.rewriter.loops[number]
        key = (threading.get_ident(), loop.call)
        if (running := self._active.get(key)) is not None:
            if running.number != number:
                # That of a loop around this one.
                return iterable
            running.close()
        simulation = Simulation(loop, _values(loop.names, thunks))
        lookahead = Lookahead(simulation, iterable, self._calls, width=self._width, number=number)
        lookahead.on_close = lambda: self._forget(key, lookahead)
        self._active[key] = lookahead
        # No Python frame of ours stands between the loop and its elements.
        return chain(iter(iterable), _End(lookahead))

    def _forget(self, key: tuple[int, int], lookahead: Lookahead) -> None:
        if self._active.get(key) is lookahead:
            del self._active[key]


def _values(names: tuple[str, ...], thunks: tuple[Callable[[], Any], ...]) -> dict[str, Any]:
    """What the names stand for; without those that stand for nothing yet."""
    values = {}
    for name, thunk in zip(names, thunks, strict=True):
        try:
            values[name] = thunk()
        except NameError:
            continue
    return values


class _End:
    """The last part of a loop's iterator: reached, or dropped with it, it ends the lookahead."""

    def __init__(self, lookahead: Lookahead) -> None:
        self._lookahead = lookahead

    def __iter__(self) -> Iterator[Any]:
        self._lookahead.close()
        return iter(())

    def __del__(self) -> None:
        self._lookahead.close()
