"""The sub-calls of one kernel: what its batches may ask, decided by where in the run tree it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from rlm.calls.batch import AnyRequest, Batch
from rlm.calls.free import FreeEvents
from rlm.calls.memo import Occurrences
from rlm.calls.options import Defaults, Options, parse_child_options, parse_options
from rlm.calls.request import parse_child, parse_limited, parse_prompt
from rlm.calls.scheduler import Scheduler, Spawn
from rlm.events import ROOT
from rlm.protocols import Deliver, Emit

MAX_BATCH = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a kernel stands; none of it can be said by the guest."""

    depth: int
    """0 for the root."""
    rollout: str = ROOT
    """Its name; batches are numbered within it, so that a cell that is executed again finds the same numbers."""
    calls: bool = True
    """Whether it has sub-calls at all."""
    spawn: Spawn | None = None
    """Makes its children; None at the depth limit."""


class Caller:
    """Implements `rlm.protocols.SubCalls` for one kernel. Belongs to one event loop."""

    def __init__(self, scheduler: Scheduler, place: Place, defaults: Defaults, *, emit: Emit) -> None:
        self._scheduler = scheduler
        self._place = place
        self._defaults = defaults
        self._emit = emit
        self._occurrences = Occurrences()
        self._free = FreeEvents()
        self._batches = count(1)

    def begin_cell(self) -> None:
        """A new cell: equal prompts are counted from the start, so that a repeated cell finds its replies."""
        self._occurrences.begin_cell()
        self._free.begin_cell()

    def open_batch(self, size: int, options: Mapping[str, Any], deliver: Deliver) -> Batch:
        """See `SubCalls.open_batch`. Raises `ValueError`."""
        if not self._place.calls:
            raise ValueError("there are no sub-calls in this run: its depth is 0")
        if type(size) is not int or not 0 <= size <= MAX_BATCH:
            raise ValueError(f"a batch has 0 to {MAX_BATCH:,} prompts")
        if not isinstance(options, Mapping):
            raise ValueError("options: an object")
        if options.get("recursive") is True:
            return self._recursive(size, options, deliver)
        checked = parse_options(options, self._defaults)
        return self._batch(size, checked, deliver, parse=lambda prompt: self._plain(prompt, options, checked))

    def _recursive(self, size: int, options: Mapping[str, Any], deliver: Deliver) -> Batch:
        checked = parse_child_options(options, self._defaults)
        if self._place.spawn is None:
            return self._batch(size, checked, deliver, parse=lambda prompt: self._limited(prompt, checked))
        level = self._place.depth + 1
        return self._batch(
            size,
            checked,
            deliver,
            parse=lambda prompt: parse_child(prompt, checked, depth=level),
            level=level,
            spawn=self._place.spawn,
        )

    def _plain(self, prompt: Any, options: Mapping[str, Any], checked: Options) -> AnyRequest:
        return parse_prompt(prompt, options, checked, self._defaults, salt=self._scheduler.salt)

    def _limited(self, prompt: Any, checked: Options) -> AnyRequest:
        return parse_limited(prompt, checked, self._defaults, salt=self._scheduler.salt)

    def _batch(
        self, size: int, checked: Options, deliver: Deliver, *, parse: Any, level: int | None = None, spawn: Any = None
    ) -> Batch:
        scheduler = self._scheduler
        batch = Batch(
            f"{self._place.rollout}.b{next(self._batches)}",
            size,
            checked,
            default_system=self._defaults.tools_system if checked.tools else self._defaults.system,
            level=level,
            parse=parse,
            submit=scheduler.submit,
            new_key=self._key,
            deliver=deliver,
            emit=self._emit,
            outbox=scheduler.outbox,
            on_end=scheduler.ended,
            free=self._free,
        )
        if size:
            scheduler.opened(batch, spawn)
        return batch

    def _key(self, request: AnyRequest) -> str:
        return self._occurrences.key(request.content_key, dedupe=request.options.dedupe)
