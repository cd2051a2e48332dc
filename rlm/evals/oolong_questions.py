"""The questions of `oolong` and their right answers, computed from the items before any text is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from rlm.evals.labelled import YEAR, Item, Topic, spelled
from rlm.evals.sessions import PLAYERS, SPELLS, Happening
from rlm.evals.textkit import Draw

MORE, LESS, SAME = "more common", "less common", "same frequency"

_NUMBER_ALONE = "Answer with the number alone."
_CLASS_ALONE = "If several are, any of them will do. Answer with its name alone."


class Asked(NamedTuple):
    """A question, and as JSON what is right: `kind` says how answers are compared, `answers` are equally right."""

    kind: str
    text: str
    gold: dict[str, Any]


def _asked(kind: str, text: str, answers: Iterable[Any], names: Sequence[str] = ()) -> Asked:
    return Asked(kind, text, {"kind": kind, "answers": list(answers), "names": list(names)})


def _extreme(counts: dict[str, int], pick: Callable[..., int]) -> list[str]:
    most = pick(counts.values())
    return [label for label, count in counts.items() if count == most]


def _by_class(topic: Topic, items: Iterable[Item]) -> dict[str, int]:
    found = Counter(item.label for item in items)
    return {label: found[label] for label in topic.classes}


def _count(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    label = draw.pick(topic.classes)
    text = f"How many of the {topic.things} are of the class '{label}'? {_NUMBER_ALONE}"
    return _asked("number", text, [_by_class(topic, items)[label]])


def _compare(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    one, other = draw.sample(topic.classes, 2)
    counts = _by_class(topic, items)
    right = SAME if counts[one] == counts[other] else MORE if counts[one] > counts[other] else LESS
    text = f"Is the class '{one}' more or less common than the class '{other}' among the {topic.things}? Answer with "
    return _asked("comparison", f"{text}one of: {MORE}, {LESS}, {SAME}.", [right])


def _most(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    text = f"Which class is the most common one of the {topic.things}? {_CLASS_ALONE}"
    return _asked("name", text, _extreme(_by_class(topic, items), max), topic.classes)


def _least(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    text = f"Which class is the least common one of the {topic.things}? {_CLASS_ALONE}"
    return _asked("name", text, _extreme(_by_class(topic, items), min), topic.classes)


def _user(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    user, label = draw.pick(items).user, draw.pick(topic.classes)
    own = [item for item in items if item.user == user]
    form = draw.below(3)
    if form == 0:
        text = f"How many of the {topic.things} by user {user} are of the class '{label}'? {_NUMBER_ALONE}"
        return _asked("number", text, [_by_class(topic, own)[label]])
    if form == 1:
        text = f"Which class is the most common one of the {topic.things} by user {user}? {_CLASS_ALONE}"
        return _asked("name", text, _extreme(_by_class(topic, own), max), topic.classes)
    label = draw.pick(items).label
    counts = Counter(str(item.user) for item in items if item.label == label)
    text = f"Which user has the most {topic.things} of the class '{label}'? If several have, any of them will do. "
    return _asked("user", f"{text}Answer with the user's number alone.", _extreme(dict(counts), max))


def _dates(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    first = date(YEAR, 1, 1) + timedelta(days=draw.below(250))
    last = first + timedelta(days=draw.between(30, 110))
    within = [item for item in items if first <= item.day <= last]
    span = f"dated from {spelled(first)} to {spelled(last)} (both included)"
    if draw.chance(0.5):
        label = draw.pick(topic.classes)
        text = f"How many of the {topic.things} {span} are of the class '{label}'? {_NUMBER_ALONE}"
        return _asked("number", text, [_by_class(topic, within)[label]])
    text = f"Which class is the most common one of the {topic.things} {span}? {_CLASS_ALONE}"
    return _asked("name", text, _extreme(_by_class(topic, within), max), topic.classes)


def _first(draw: Draw, topic: Topic, items: Sequence[Item]) -> Asked:
    label = draw.pick(items).label
    days = [item.day for item in items if item.label == label]
    word, day = ("earliest", min(days)) if draw.chance(0.5) else ("latest", max(days))
    text = f"What is the {word} date of the {topic.things} of the class '{label}'? "
    return _asked("date", f"{text}Answer with the date alone, as in {spelled(date(YEAR, 1, 5))}.", [day.isoformat()])


ABOUT_ITEMS: dict[str, Callable[[Draw, Topic, Sequence[Item]], Asked]] = {
    "count": _count,
    "compare": _compare,
    "most": _most,
    "least": _least,
    "user": _user,
    "dates": _dates,
    "first": _first,
}

_REALLY = "Only what is really done in the game counts, not what is merely talked about."


def about_sessions(draw: Draw, happenings: Sequence[Happening]) -> Asked:
    """A count of rolls or spells, or the first or last spell of a session."""
    session = draw.pick(happenings).session
    where, scope = draw.pick((("in all sessions together", None), (f"in session {session}", session)))
    chosen = [each for each in happenings if scope in (None, each.session)]
    casts = [each for each in chosen if each.kind == "cast"]
    form = draw.below(4)
    if form == 3 and casts:
        word, cast = ("first", casts[0]) if draw.chance(0.5) else ("last", casts[-1])
        text = f"Which spell is the {word} to be cast {where}? {_REALLY} Answer with its name alone."
        return _asked("name", text, [cast.what], SPELLS)
    if form == 2:
        value = str(draw.between(15, 20))
        count = sum(each.kind == "roll" and each.what == value for each in chosen)
        return _asked(
            "number", f"How many dice rolls show the number {value} {where}? {_REALLY} {_NUMBER_ALONE}", [count]
        )
    if form == 1:
        player = draw.pick(PLAYERS)
        count = sum(each.kind == "roll" and each.player == player for each in chosen)
        return _asked("number", f"How many dice rolls does {player} make {where}? {_REALLY} {_NUMBER_ALONE}", [count])
    return _asked("number", f"How many spells are cast {where}? {_REALLY} {_NUMBER_ALONE}", [len(casts)])
