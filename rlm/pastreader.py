"""From the events of a trace to the record of a run (`rlm.past`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rlm.events import ROOT, Event, below_root, identity, messages_sent
from rlm.past import CUT_OFF, Exchange, Handover, Past, PastCall, Spending
from rlm.protocols import Tokens


def read_past(events: Iterable[Event], *, offline: bool = False) -> Past:
    """The record that these events make; `offline` as for `Past`."""
    return _Reader(Past(offline=offline)).read(events)


class _Reader:
    """Takes the events one by one; a method for each type that matters."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self._unfinished: dict[tuple[str, int], PastCall] = defaultdict(PastCall)
        self._running: dict[str, list[Event]] = {}
        """What calls came to since the cell began that is running, by rollout."""
        self._last: float | None = None
        """When the last event came, in the same process."""

    def read(self, events: Iterable[Event]) -> Past:
        for event in events:
            if event["type"] != "run.resumed" and self._last is not None:
                # A clock that was set back has not given any time back.
                self.past.seconds += max(0.0, event["ts"] - self._last)
            self._last = event["ts"]
            self.past.last_seq = max(self.past.last_seq, event["seq"])
            if known := identity(event):
                self.past.known.add(known)
            if take := getattr(self, f"_{event['type'].replace('.', '_')}", None):
                take(event)
        self._finish()
        return self.past

    def _finish(self) -> None:
        past = self.past
        past.rollouts[ROOT].stop_reason = past.result["stop_reason"] if past.result else None
        for call in self._unfinished.values():
            if call.replies:
                past.add_partial(call)
                for each in call.replies:
                    past.spendings.append(Spending("sub", each["model"], _tokens(each), each["attempts"]))
        # A cell that was running at the end is executed as a new one: what was cancelled in it is asked again.
        for rollout, outcomes in self._running.items():
            for event in outcomes:
                if (event.get("error") or {}).get("kind") == "cancelled":
                    past.drop_outcome(rollout, event)
        for rollout, ended in past.rollouts.items():
            if ended.stop_reason == "interrupted":
                past.known.discard(("child.completed", rollout))

    # --- the run

    def _run_started(self, event: Event) -> None:
        self.past.started = event

    def _run_resumed(self, event: Event) -> None:
        self.past.result = None

    def _run_completed(self, event: Event) -> None:
        self.past.result = event["result"]

    def _inputs_hashed(self, event: Event) -> None:
        self.past.hashes = {each["name"]: each["sha256"] for each in event["inputs"]}

    def _tools_opened(self, event: Event) -> None:
        self.past.tools = event

    # --- rollouts

    def _child_started(self, event: Event) -> None:
        self.past.add_child(event)

    def _child_completed(self, event: Event) -> None:
        self.past.rollouts[event["rollout"]].stop_reason = event["stop_reason"]
        self.past.took[event["rollout"]] = (event["input_tokens"], event["output_tokens"])

    def _root_requested(self, event: Event) -> None:
        rollout = self.past.rollouts[event["rollout"]]
        rollout.sent = messages_sent(rollout.sent, event)
        rollout.last = event["last"]

    def _root_completed(self, event: Event) -> None:
        rollout = self.past.rollouts[event["rollout"]]
        rollout.steps.append(Exchange(rollout.sent, rollout.last, event))
        self._spent(event)

    def _compaction_completed(self, event: Event) -> None:
        if event["done"]:
            self.past.rollouts[event["rollout"]].steps.append(Handover(event))
        self._spent(event)

    def _spent(self, event: Event) -> None:
        kind = "sub" if below_root(event) else "root"
        self.past.spendings.append(Spending(kind, event["model"], _tokens(event), event["attempts"]))

    def _cell_started(self, event: Event) -> None:
        self._running[event["rollout"]] = []

    def _cell_completed(self, event: Event) -> None:
        self._running.pop(event["rollout"], None)
        self.past.rollouts[event["rollout"]].cells[event["turn"]] = event

    def _function_completed(self, event: Event) -> None:
        if event["failed"] != CUT_OFF:
            self.past.add_function(event["rollout"], event)

    # --- sub-calls

    def _call_replied(self, event: Event) -> None:
        self._unfinished[event["batch"], event["index"]].replies.append(event)

    def _tool_completed(self, event: Event) -> None:
        self._unfinished[event["batch"], event["index"]].tools.append(event)

    def _call_completed(self, event: Event) -> None:
        past, rollout = self.past, event["rollout"]
        self._unfinished.pop((event["batch"], event["index"]), None)
        # What is remembered is found again, unless it was remembered from another run.
        if not event["cached"] or event.get("text") is not None:
            past.add_outcome(rollout, event)
            self._running.setdefault(rollout, []).append(event)
        if event["cached"]:
            past.cached += 1
            return
        past.calls += 1
        child = "child" in event
        if event["attempts"] or child:
            tokens = Tokens() if child else _tokens(event)
            past.spendings.append(Spending("sub", event["model"], tokens, event["attempts"], call=True, child=child))


def _tokens(event: Event) -> Tokens:
    cached = event.get("cached_input_tokens", 0)
    return Tokens(event["input_tokens"], event["output_tokens"], cached, event["estimated"])
