"""Whether an answer names an entity, and that one alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_ANSWER = 2000
MAX_FURTHER_WORDS = 15
"""Of a sentence around a name."""
_LEAD = re.compile(r"^(?:(?:the|my|final)\s+)*(?:answer|name)(?:\s+is)?\s*:?\s*|^it\s+is\s+|^it's\s+", re.IGNORECASE)
_OPENERS = {
    "the",
    "it",
    "answer",
    "her",
    "his",
    "its",
    "their",
    "this",
    "that",
    "name",
    "so",
    "thus",
    "therefore",
    "final",
}
_OPENERS |= {"according", "based", "in", "after", "my", "i", "he", "she", "they", "as", "hence", "a", "an"}
_DOUBT = {"not", "or", "neither", "nor", "either", "maybe", "cannot", "unknown", "and", "isn", "perhaps"}


def names(answer: str, accepted: Iterable[str]) -> bool:
    """Whether the answer is one of the `accepted` names, or a short sentence that names it and nothing else.

    Case, accents, punctuation, quotes and a leading article do not count. A sentence may hold no further
    capitalised word but those that sentences open with, and none that leaves it open: a list of candidates is
    no answer. If there are several lines, the last one counts.
    """
    lines = [line for line in answer[-MAX_ANSWER:].strip().splitlines() if line.strip()]
    if not lines:
        return False
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", lines[-1])
    text = boxed[-1] if boxed else lines[-1]
    wanted = {normal(name) for name in accepted} - {""}
    if normal(text) in wanted or normal(_LEAD.sub("", text.strip(" *_#>`'\""))) in wanted:
        return True
    return any(_is_said_alone(text, name) for name in wanted)


def normal(text: str) -> str:
    """Lower case, without accents and punctuation, single spaces, no leading article."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(each for each in plain if not unicodedata.combining(each)).casefold().replace("&", " and ")
    words = re.findall(r"\w+", plain.replace("_", " "))
    return " ".join(words[1:] if words[:1] in (["the"], ["a"], ["an"]) and len(words) > 1 else words)


def _is_said_alone(text: str, name: str) -> bool:
    around = f" {normal(text)} ".split(f" {name} ")
    if len(around) != 2:
        return False
    further = " ".join(around).split()
    others = {normal(word) for word in re.findall(r"\b[A-Z]\w*", text)} - set(name.split()) - {""}
    return len(further) <= MAX_FURTHER_WORDS and others <= _OPENERS and _DOUBT.isdisjoint(further)
