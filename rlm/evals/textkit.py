"""What environments share: random choices, scores of lists and words, and the scripted models' common moves."""

from __future__ import annotations

import hashlib
import inspect
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from rlm.testing import ScriptedRequest
from rlm.testing.script import message_text

T = TypeVar("T")

PLAIN_READS = 20_000
"""Characters of the input that the scripted model of the plain arm takes in."""

_NUMBER = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)|\d+")
_WHOLE = re.compile(r"(?<=\d)\.0+(?!\d)")
_TAGS = ("context", "input", "document", "text")


class Draw:
    """Random choices for one task, the same on every machine and in every Python.

    Only `random.Random.random` keeps its sequence from one Python to the next, so all else is built on it.
    """

    def __init__(self, name: str, *, seed: int, index: int) -> None:
        self._random = random.Random(f"{seed}-{index}-{name}").random

    def below(self, limit: int) -> int:
        """An integer from 0 to `limit - 1`."""
        return int(self._random() * limit)

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def picks(self, options: Sequence[T], count: int) -> list[T]:
        """With repetition."""
        draw, size = self._random, len(options)
        return [options[int(draw() * size)] for _ in range(count)]

    def sample(self, options: Iterable[T], count: int | None = None) -> list[T]:
        """Without repetition, in random order; all of them by default."""
        left = list(options)
        count = len(left) if count is None else count
        for at in range(count):
            other = at + self.below(len(left) - at)
            left[at], left[other] = left[other], left[at]
        return left[:count]

    def distinct(self, make: Callable[[], T], count: int) -> list[T]:
        """What `make` draws, each value once. It must be able to draw many more than `count`."""
        found: dict[T, None] = {}
        while len(found) < count:
            found[make()] = None
        return list(found)

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        point = self._random() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            point -= weight
            if point < 0:
                return option
        return options[-1]


class Agreement(NamedTuple):
    """How well a set of answers fits the right one, each figure from 0 to 1."""

    precision: float
    recall: float
    f1: float
    exact: float


def agreement(answered: Iterable[Any], right: Iterable[Any]) -> Agreement:
    """Repetition and order do not count. Two empty sets agree."""
    given, gold = set(answered), set(right)
    if not given and not gold:
        return Agreement(1.0, 1.0, 1.0, 1.0)
    hits = len(given & gold)
    precision = hits / len(given) if given else 0.0
    recall = hits / len(gold) if gold else 0.0
    return Agreement(precision, recall, 2 * hits / (len(given) + len(gold)), float(given == gold))


def words(text: str) -> tuple[str, ...]:
    """A list of words, written as one text."""
    return tuple(text.split())


def numbers_in(text: str) -> list[str]:
    """The whole numbers of a text: `1,234`, `1234` and `1234.0` are the same."""
    return [found.replace(",", "") for found in _NUMBER.findall(_WHOLE.sub("", text))]


def digest(*parts: object) -> str:
    """A short name for these values; a model of options counts with all its fields."""
    words = [part.model_dump_json() if isinstance(part, BaseModel) else str(part) for part in parts]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def cell(*parts: str) -> str:
    """A reply of a root model: one block of code."""
    code = "\n".join(parts)
    return f"```repl\n{code}\n```"


def source(*functions: Callable[..., Any]) -> str:
    """The code of functions that need nothing from outside, for a scripted root to write; first in its cell."""
    # Their annotations name what the REPL has not imported.
    return "\n\n".join(["from __future__ import annotations", *map(inspect.getsource, functions)])


def question_of(request: ScriptedRequest) -> str:
    """What a root was asked: the first message of the user, without what follows about the input."""
    asked = next((str(each.get("content")) for each in request.messages if each.get("role") == "user"), "")
    return asked.partition("\n<input>")[0]


def told(request: ScriptedRequest) -> str:
    """All that the user has said."""
    return "\n".join(message_text(each) for each in request.messages if each.get("role") == "user")


def delegates(request: ScriptedRequest) -> bool:
    """Whether the root that is asked has sub-LLMs."""
    return any("llm_batch(" in str(each.get("content")) for each in request.messages[:1])


def material(prompt: str) -> str:
    """The input within the prompt of the plain arm: what lies between its tags, else all of it."""
    for tag in _TAGS:
        start, end = prompt.find(f"<{tag}>"), prompt.rfind(f"</{tag}>")
        if 0 <= start < end:
            return prompt[start + len(tag) + 2 : end].strip("\n")
    return prompt


def tagged(answer: str) -> str:
    """A reply of the plain arm."""
    return f"<answer>{answer}</answer>"


def no_help(request: ScriptedRequest) -> str:
    """The sub-LLM of a task that needs none."""
    return f"I cannot tell from these {len(request.prompt):,} characters."
