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

CONVERSATION, MESSAGE, INSTRUCTIONS = "conversation", "message", "instructions"
"""What inputs are called that were no documents."""
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to be about."""

    question: str
    """The client's, with what is to be known beside it."""
    values: tuple[Value, ...]
    """What is input of the messages' texts, as far as there is any."""
    documents: tuple[Document, ...]


def asked(messages: Sequence[Message], *, long_message: int) -> Asked:
    """The last message asks. One of more than `long_message` characters is input, and its end the question.

    Raises `ApiError` where there is no question.
    """
    said = [each for each in messages if each.role != "system"]
    if not said or said[-1].role != "user":
        raise invalid("the last message has to be the user's", "messages")
    *earlier, last = said
    question = last.text.strip()
    values = []
    if earlier:
        values.append(Value([{"role": each.role, "content": each.text} for each in earlier], CONVERSATION))
    if len(question) > long_message:
        values.append(Value(last.text, MESSAGE))
        question = last_paragraph(question, long_message)
    if not question:
        raise invalid("the last message has no text: there is no question", "messages")
    instructions = "\n\n".join(each.text.strip() for each in messages if each.role == "system").strip()
    if len(instructions) > long_message:
        values.append(Value(instructions, INSTRUCTIONS))
        instructions = ""
    documents = tuple(document for each in said for document in each.documents)
    names = {value.name for value in values}
    text = render(
        "request",
        question=question,
        conversation=CONVERSATION in names,
        message=MESSAGE in names,
        instructions=instructions,
        long_instructions=INSTRUCTIONS in names,
        alone=len(values) + len(documents) == 1,
    )
    return Asked(text, tuple(values), documents)


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
