"""From messages to a question and an input: what is long, earlier or attached is `context`.

docs/serve.md states the rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlm.context import Value
from rlm.prompts import render
from rlm.serve.failures import invalid
from rlm.serve.messages import Document, Message

CONVERSATION, MESSAGE = "conversation", "message"
"""What inputs are called that were no documents, where there are several."""
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_ROLES = frozenset({"user", "assistant"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to be about."""

    question: str
    values: tuple[Value, ...]
    """A long message and the earlier conversation, as far as there are any."""
    documents: tuple[Document, ...]
    instructions: str
    """What the client's system messages say."""

    def tips(self, own: str) -> str:
        """The server's own tips, and what is to be known of this request."""
        has = [value.name for value in self.values]
        text = render(
            "request",
            tips=own,
            instructions=self.instructions,
            conversation=CONVERSATION in has,
            message=MESSAGE in has,
            alone=len(self.values) + len(self.documents) == 1,
        )
        # A text on one line could be the name of a file, which is then read.
        return f"{text}\n" if text else ""


def asked(messages: Sequence[Message], *, long_message: int) -> Asked:
    """The last message asks; one of more than `long_message` characters is input itself, and its end the question.

    Raises `ApiError` where there is no question.
    """
    instructions = "\n\n".join(each.text.strip() for each in messages if each.role == "system")
    said = [each for each in messages if each.role in _ROLES]
    if not said or said[-1].role != "user":
        raise invalid("the last message has to be the user's", "messages")
    *earlier, last = said
    values = []
    if earlier:
        values.append(Value([{"role": each.role, "content": each.text} for each in earlier], CONVERSATION))
    question = last.text.strip()
    if len(last.text) > long_message:
        values.append(Value(last.text, MESSAGE))
        question = last_paragraph(question, long_message)
    if not question:
        raise invalid("the last message has no text: there is no question", "messages")
    documents = tuple(document for each in said for document in each.documents)
    return Asked(question, tuple(values), documents, instructions.strip())


def last_paragraph(text: str, most: int) -> str:
    """What comes after the last blank line; of one that is too long its last line, and of that its end."""
    text = text.rstrip()
    start = 0
    for found in _BLANK_LINES.finditer(text, max(0, len(text) - 4 * most)):
        start = found.end()
    paragraph = text[start:]
    if len(paragraph) > most:
        paragraph = paragraph.rpartition("\n")[2]
    return paragraph[-most:].strip()
