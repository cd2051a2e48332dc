"""How answers about code are compared: names and paths exactly, numbers exactly, sets by F1."""

from __future__ import annotations

import re

from rlm.evals.task import Score
from rlm.evals.textkit import agreement

MAX_ANSWER = 20_000
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_LEAD = re.compile(r"^[^`:]*?(?::\s+|:$|\bare\s+|\bis\s+)")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+")


def score(form: str, gold: object, answer: str) -> Score:
    """By the form of the answer: `name`, `path`, `number`, `names` or `paths`."""
    text = answer[:MAX_ANSWER].strip()
    if form == "number":
        return _number(int(str(gold)), text)
    found = members(text, paths=form in ("path", "paths"))
    if isinstance(gold, str):
        right = float(found == [gold])
        return Score(reward=right, metrics={"exact": right})
    fit = agreement(found, gold if isinstance(gold, list) else ())
    return Score(reward=fit.f1, metrics={"exact": fit.exact, "precision": fit.precision, "recall": fit.recall})


def _number(gold: int, text: str) -> Score:
    """The number that an answer names, if it names just one; how near it is, is a metric and no reward."""
    named = {float(each.replace(",", "")) for each in _NUMBER.findall(text) if len(each) < 20}
    if len(named) != 1:
        return Score(reward=0.0, metrics={"exact": 0.0, "nearness": 0.0})
    error = abs(named.pop() - gold)
    return Score(reward=float(error == 0), metrics={"exact": float(error == 0), "nearness": 0.75 ** min(error, 1000)})


def members(text: str, *, paths: bool) -> list[str]:
    """The names in an answer, each once: separated by commas, semicolons, new lines or `and`.

    Bullets, quotes, backticks, `()` and what leads up to a colon, `is` or `are` are dropped, and so is all before the
    last dot of a name. What is left of a sentence is one more, wrong, member.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        # Single spaces, so that no pattern has long stretches of them to try.
        line = _LEAD.sub("", _BULLET.sub("", " ".join(line.split())), count=1).strip()
        for piece in re.split(r"[,;]|\s+and\s+|^and\s+", line.strip("[]{}()") if not line.endswith("()") else line):
            quoted = re.findall(r"`([^`]+)`", piece)
            name = (quoted[0] if len(quoted) == 1 else piece).strip(" \t`'\"*.")
            name = _path(name) if paths else _name(name)
            if name:
                found[name] = None
    return list(found)


def _name(text: str) -> str:
    text = text.removesuffix("()")
    return text.rpartition(".")[2] if re.fullmatch(r"[\w.]+", text) else text


def _path(text: str) -> str:
    return text.replace("\\", "/").removeprefix("./").removeprefix("/")
