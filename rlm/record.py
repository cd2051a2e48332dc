"""A run's trace, opened to go on with the run where it ended, or to execute it again without asking anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlm.config import Settings
from rlm.context import PreparedInput, keep
from rlm.errors import ConfigError, EndpointError, InputError
from rlm.events import Event
from rlm.layers import load_settings, of_record
from rlm.metrics import Metrics
from rlm.parts import Models
from rlm.past import Past
from rlm.pastreader import read_past
from rlm.protocols import Completion, Delta, Message
from rlm.tools import RecordedToolbox, Toolbox
from rlm.trace.reader import Trace
from rlm.trace.settings import told
from rlm.trace.store import INPUT_FILE

SAME = frozenset(
    {"model", "sub_model", "models", "depth", "native_tools", "sub_params", "sub_max_tokens", "sub_max_turns"}
)
"""Settings that a run is taken up again with must agree in these: with others it would ask other things."""
GOES_ON = frozenset({"interrupted", "error"})
"""How a run may have ended that is taken up again."""


class Record:
    """The record in a run's trace. `offline`: to execute the run again from it alone.

    Raises `InputError` for a run that goes on, or that had not begun.
    """

    def __init__(self, trace: Trace, *, offline: bool = False) -> None:
        if trace.goes_on() and not offline:
            raise InputError(f"the run {trace.run_id} goes on in another process")
        self.folder = trace.folder
        self.offline = offline
        self.metrics = Metrics()
        """Of what is on record."""
        self.past: Past = read_past(self._read(trace), offline=offline)
        if not self.past.started:
            raise InputError(f"the run {trace.run_id} had not begun when it ended")
        self.question: str = self.past.started["question"]
        self.run_id: str = self.past.started["run_id"]

    def check_has_turns(self) -> None:
        """Raise `ConfigError` for a plain call: there is nothing to execute again, or to go on with."""
        if self.past.started.get("route") == "llm":
            raise ConfigError(f"the run {self.run_id} was a plain call, without code: ask again instead")

    @property
    def end(self) -> dict[str, Any] | None:
        """The result of a run that has an end which is one: there is nothing to go on with."""
        result = self.past.result
        return result if result is not None and result["stop_reason"] not in GOES_ON else None

    def settings(self, given: Mapping[str, Any], *, runs: Path) -> Settings:
        """Those that the run began with, but for what is given; `runs` is the user's folder of runs.

        A trace elsewhere may be a stranger's: it does not say where keys and prompts go. Raises `ConfigError`.
        """
        recorded = of_record(self.past.started["settings"], trusted=self.folder.parent == runs)
        return load_settings(given, recorded=recorded)

    def prepared(self) -> PreparedInput:
        """The run's input, as it was. Blocks; raises `InputError` if it has changed."""
        prepared = keep.load(self.folder / INPUT_FILE)
        keep.check_unchanged(prepared, self.past.hashes)
        return prepared

    def check(self, settings: Settings) -> None:
        """Raise `ConfigError` for settings with which the run would not be the same one."""
        before, now = self.past.started["settings"], told(settings)
        for name in sorted(SAME):
            if before.get(name) != now.get(name):
                raise ConfigError(f"{name}: the run began with {before.get(name)!r}, and cannot go on otherwise")

    def check_tools(self, toolbox: Toolbox) -> None:
        """Raise `ConfigError` for tools that are not those of the record."""
        before = self.past.tools.get("tools", [])
        if toolbox.definitions != before:
            names = ", ".join(tool["function"]["name"] for tool in before) or "none"
            raise ConfigError(f"tools: the run began with others ({names}), and cannot go on without them")

    def toolbox(self) -> Toolbox:
        """That of the record, for a run that is executed again."""
        return RecordedToolbox(self.past.tools) if self.past.tools else Toolbox()

    def models(self, models: Models) -> Models:
        """Stand-ins for models that must not be asked."""
        return Models(
            [OfflineModel(model.name, model.context_window) for model in models.by_depth],
            {name: OfflineModel(name, model.context_window) for name, model in models.by_name.items()},
        )

    def _read(self, trace: Trace) -> Iterator[Event]:
        for event in trace.events():
            self.metrics(event)
            yield event


class OfflineModel:
    """A `Model` that nothing can be asked."""

    def __init__(self, name: str, context_window: int | None) -> None:
        self.name = name
        self.context_window = context_window

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Completion:
        raise _not_there()

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Delta]:
        return _Refusal()

    async def aclose(self) -> None:
        """Nothing is open."""


class _Refusal(AsyncIterator[Delta]):
    async def __anext__(self) -> Delta:
        raise _not_there()


def _not_there() -> EndpointError:
    return EndpointError("this request is not in the record, and nothing is asked when a run is replayed", attempts=0)
