"""The messages between the run and its root model: they only ever grow."""

from __future__ import annotations

from typing import Any

from rlm.estimate import message_tokens
from rlm.prompts import render
from rlm.protocols import Message
from rlm.reply import Reply


class Conversation:
    """What was said, and what is to be said with the next request."""

    def __init__(self, system: str) -> None:
        self._messages: list[Message] = [{"role": "system", "content": system}]
        self._unsent: list[str] = []

    def say(self, text: str) -> None:
        """Add to what the model is told with the next request; the same thing twice in a row is said once."""
        if self._unsent[-1:] != [text]:
            self._unsent.append(text)

    def request(self) -> list[Message]:
        """The messages of the next request."""
        return [*self._messages, self._next()]

    def input_tokens(self) -> int:
        """The estimated size of the next request."""
        return message_tokens(self.request())

    def accept(self, reply: Reply) -> None:
        """The model answered: what was sent and what it said become part of the conversation.

        An empty reply leaves all as it was, so that roles go on to alternate.
        """
        if answer := _assistant_message(reply):
            self._messages += [self._next(), answer]
            self._unsent.clear()

    def _next(self) -> Message:
        """All that is to be said, as one message: endpoints want roles to alternate."""
        content = "\n\n".join(self._unsent)
        if calls := self._messages[-1].get("tool_calls"):
            return {"role": "tool", "tool_call_id": calls[0]["id"], "content": content}
        return {"role": "user", "content": content}


def python_tool() -> dict[str, Any]:
    """The REPL as a native tool."""
    code = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    return {"type": "function", "function": {"name": "python", "description": render("tool"), "parameters": code}}


def _assistant_message(reply: Reply) -> Message | None:
    if reply.tool_call is None:
        return {"role": "assistant", "content": reply.text} if reply.text.strip() else None
    call = reply.tool_call
    # Endpoints parse the arguments of earlier calls, and refuse the request if they cannot.
    arguments = "{}" if call.broken == "arguments" else call.arguments
    function = {"name": call.name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": reply.text,
        "tool_calls": [{"id": call.id, "type": "function", "function": function}],
    }
