"""The root model as the loop sees it: room is reserved, a reply streamed up to its first code, its cost settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rlm.blocks import ToolCall
from rlm.budget import Kind, Ledger, Reservation, Shortage
from rlm.calls.outcome import cached_input
from rlm.config import Settings
from rlm.conversation import Conversation, python_tool
from rlm.errors import EndpointError, ModelError, attempts_of
from rlm.estimate import BYTES_PER_TOKEN
from rlm.events import COMMON
from rlm.models import CAPS
from rlm.past import Exchange
from rlm.protocols import Delta, Emit, Message, Model, Tokens
from rlm.reply import Reply, ReplyReader
from rlm.result import StopReason

LAST_OUTPUT = 1024
"""Tokens set aside for the reply of the last turn."""
MIN_OUTPUT = 256
"""With room for fewer output tokens than these, a turn is the last one."""
MAX_OUTPUT = 16_384
"""Cap on a reply when tokens or cost are limited, since it has to be reserved."""
REASK_AFTER = (0.5, 2.0)
"""Seconds before a reply that broke off in the middle is asked for again."""


def output_caps(params: Mapping[str, Any]) -> list[int]:
    """The caps on a reply among parameters."""
    return [params[name] for name in CAPS if name in params]


def without_caps(params: Mapping[str, Any]) -> dict[str, Any]:
    """The other parameters: what is sent as a cap is what was reserved."""
    return {name: value for name, value in params.items() if name not in CAPS}


@dataclass(frozen=True, kw_only=True)
class Role:
    """Whose turns they are: the root's of the run, or a child's, which is a root of its own to its sub-LLMs."""

    kind: Kind = "root"
    """The account that pays."""
    params: Mapping[str, Any] = field(default_factory=dict)
    max_output: int | None = None
    """Cap on a reply; without one a reply is capped where tokens or cost are limited only."""


class RootModel:
    """Asks one model for the replies of one conversation, within the ledger's limits."""

    def __init__(self, model: Model, ledger: Ledger, *, role: Role, settings: Settings, emit: Emit) -> None:
        self._model = model
        self._ledger = ledger
        self._role = role
        self._settings = settings
        self._emit = emit
        self._broke_off = False
        self._sent: list[Message] = []
        """The messages of the last request."""

    async def out_of_room(self, talk: Conversation) -> StopReason | None:
        """The limit that leaves room for one more request only; that one's share is set aside.

        Where the room is but held by requests of others that are under way, it waits for them.
        """
        model, estimate = self._model.name, talk.input_tokens()
        observation = self._settings.output_limit // BYTES_PER_TOKEN
        self._ledger.set_aside(self, model, estimate + observation, LAST_OUTPUT)
        while True:
            room = self._ledger.room(model, estimate)
            if room is None or room[0] // 2 >= MIN_OUTPUT:
                return None
            at_most = self._ledger.room(model, estimate, unused=True)
            if at_most is None or at_most[0] // 2 < MIN_OUTPUT:
                return "max_cost" if room[1] == "max_cost" else "max_tokens"
            await self._ledger.given_back()

    def close(self) -> None:
        """The conversation is over: what was set aside for its last turn is free."""
        self._ledger.drop_aside(self)

    async def reply(self, talk: Conversation, turn: int, *, last: StopReason | None) -> Reply | None:
        """The next reply, added to `talk`; None if there is no room for it. One that breaks off is asked for again.

        Raises `ModelError`. `last` is the limit that makes this the last request, which draws on what was set aside.
        """
        for pause in (*REASK_AFTER, None):
            place = self._reserve(talk, last=last is not None)
            if isinstance(place, Shortage):
                self._emit("notice", text=f"no room for another turn: {place.message}")
                return None
            try:
                return await self._ask(talk, turn, last, *place)
            except EndpointError as error:
                # An endpoint that cannot be had at all has been tried often enough by the model's own retries.
                if pause is None or not self._broke_off:
                    raise
                self._emit("notice", text=f"asking again: {error}")
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def recall(self, talk: Conversation, exchange: Exchange) -> Reply:
        """The reply of the record in the place of `reply`: nothing is sent, and `talk` is to the letter as it was."""
        event = exchange.reply
        call = event["tool_call"]
        reply = Reply(event["text"], event["code"], ToolCall(**call) if call else None, event["broken"])
        talk.restore(exchange.messages)
        self._sent = exchange.messages
        talk.measured(talk.input_tokens(), Tokens(event["input_tokens"], estimated=event["estimated"]))
        fields = {name: value for name, value in event.items() if name not in COMMON and name != "rollout"}
        self._emit("root.completed", **fields, past=True)
        talk.accept(reply)
        return reply

    async def _ask(
        self,
        talk: Conversation,
        turn: int,
        last: StopReason | None,
        place: Reservation,
        max_tokens: int | None,
        estimate: int,
    ) -> Reply:
        """Stream one reply, up to its first code."""
        self._tell_of_request(talk.request(), turn=turn, last=last, max_tokens=max_tokens)
        begun = time.monotonic()
        reader = ReplyReader(lambda text: self._emit("root.delta", turn=turn, text=text))
        with self._settling(place, reader, estimate):
            reply = await reader.read(self._stream(talk, max_tokens))
        tokens = reader.tokens(estimate)
        talk.measured(estimate, tokens)
        self._emit(
            "root.completed",
            turn=turn,
            text=reply.text,
            code=reply.code,
            tool_call=reply.tool_call._asdict() if reply.tool_call else None,
            broken=reply.broken,
            model=self._model.name,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            estimated=tokens.estimated,
            **cached_input(tokens.cached_input),
            seconds=time.monotonic() - begun,
            attempts=reader.attempts or 1,
        )
        talk.accept(reply)
        return reply

    def _tell_of_request(self, messages: list[Message], **fields: Any) -> None:
        """What is sent, less what the event of the last request said already."""
        kept = 0
        # The same objects, as long as the conversation only grows.
        while kept < min(len(messages), len(self._sent)) and messages[kept] == self._sent[kept]:
            kept += 1
        self._sent = messages
        self._emit("root.requested", **fields, kept=kept, messages=messages[kept:])

    def _stream(self, talk: Conversation, max_tokens: int | None) -> AsyncIterator[Delta]:
        params = without_caps(self._role.params)
        if self._settings.native_tools:
            params.setdefault("tools", [python_tool()])
        timeout = self._settings.request_timeout
        return self._model.stream(talk.request(), max_tokens=max_tokens, timeout=timeout, params=params)

    @contextmanager
    def _settling(self, place: Reservation, reader: ReplyReader, estimate: int) -> Any:
        try:
            yield
        except ModelError as error:
            self._broke_off = reader.attempts > 0
            place.fail(attempts=error.attempts)
            raise
        except BaseException as error:
            # Cut off: what had been streamed was paid for.
            if reader.attempts:
                place.settle(reader.tokens(estimate), attempts=reader.attempts)
            else:
                place.fail(attempts=attempts_of(error))
            raise
        place.settle(reader.tokens(estimate), attempts=reader.attempts or 1)

    def _reserve(self, talk: Conversation, *, last: bool) -> tuple[Reservation, int | None, int] | Shortage:
        """Room for the next request, its output cap and its estimated input."""
        estimate = talk.input_tokens()
        room = self._room(estimate, last=last)
        caps = output_caps(self._role.params)
        caps += [self._role.max_output] if self._role.max_output is not None else []
        cap = min([*caps, room, MAX_OUTPUT]) if room is not None else min(caps, default=None)
        owner = self if last else None
        place = self._ledger.reserve(
            self._role.kind, self._model.name, estimate, max(1, cap or 0), last=owner, counted=False
        )
        return place if isinstance(place, Shortage) else (place, cap, estimate)

    def _room(self, estimate: int, *, last: bool) -> int | None:
        room = self._ledger.room(self._model.name, estimate, last=self if last else None)
        # What a reply takes as output, the next request takes again as input: keep it for the last one.
        return None if room is None else room[0] if last else room[0] // 2
