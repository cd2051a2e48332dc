"""The scripted models of `oolong`: the sub-LLM reads a few lines at a time, the root counts what it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from rlm.evals.labelled import TOPICS
from rlm.evals.sessions import CASTS, PLAYERS, ROLLS, SPELLS
from rlm.evals.task import Oracle
from rlm.evals.textkit import PLAIN_READS, cell, delegates, material, question_of, source, tagged
from rlm.testing import ScriptedRequest

Line = tuple[str, str, str]
Ask = Callable[[list[str]], list[str]]

_SLOT = re.compile(r"\\?\{(\w+)\\?\}")
_WORD = re.compile(r"[a-z'-]+")
_LISTED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
_CLASSES = re.compile(r"classes: (.+)\.")


def answer_about_items(question: str, classes: Sequence[str], items: Sequence[Line]) -> str:
    """What follows from the date, the user and the class of each item."""
    import re
    from collections import Counter
    from datetime import date

    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    def day(text: str) -> date:
        month, number, year = re.findall(r"\w+", text)
        return date(int(year), months.index(month) + 1, int(number))

    rows = [(day(when), user, label) for when, user, label in items]
    if by := re.search(r"by user (\d+)", question):
        rows = [row for row in rows if row[1] == by.group(1)]
    if span := re.search(r"dated from (\w+ \d+, \d+) to (\w+ \d+, \d+)", question):
        rows = [row for row in rows if day(span.group(1)) <= row[0] <= day(span.group(2))]
    counts = {label: sum(row[2] == label for row in rows) for label in classes}
    named = re.findall(r"class '([^']+)'", question)
    if "How many" in question:
        return str(counts[named[0]])
    if "more or less common" in question:
        one, other = counts[named[0]], counts[named[1]]
        return "same frequency" if one == other else "more common" if one > other else "less common"
    if "Which user" in question:
        return str(Counter(row[1] for row in rows if row[2] == named[0]).most_common(1)[0][0])
    if "date of" in question:
        days = [row[0] for row in rows if row[2] == named[0]]
        chosen = min(days) if "earliest" in question else max(days)
        return f"{months[chosen.month - 1]} {chosen.day:02}, {chosen.year}"
    return (max if "most common" in question else min)(counts, key=lambda label: counts[label])


def answer_about_sessions(question: str, happenings: Sequence[tuple[int, str, str, str]]) -> str:
    """What follows from all rolls and spells, each with its session, its kind, who, and its value or name."""
    import re

    if within := re.search(r"in session (\d+)", question):
        happenings = [each for each in happenings if each[0] == int(within.group(1))]
    casts = [each for each in happenings if each[1] == "cast"]
    rolls = [each for each in happenings if each[1] == "roll"]
    if ordered := re.search(r"the (first|last) to be cast", question):
        return casts[0 if ordered.group(1) == "first" else -1][3]
    if shown := re.search(r"show the number (\d+)", question):
        return str(sum(each[3] == shown.group(1) for each in rolls))
    if who := re.search(r"rolls does (\w+) make", question):
        return str(sum(each[2] == who.group(1) for each in rolls))
    return str(len(casts))


def items_of(text: str) -> list[Line]:
    """Date, user and text of each line, with its class, if it has one, behind ` || Label: `."""
    import re

    return re.findall(r"^Date: (.+?) \|\| User: (\d+) \|\| Instance: (.+)$", text, re.MULTILINE)


def _own_words() -> dict[str, set[str]]:
    """The words that only one class of a topic uses."""
    own: dict[str, set[str]] = {}
    for topic in TOPICS:
        used = {label: set(_WORD.findall(" ".join(texts).lower())) for label, texts in topic.templates.items()}
        for label in used:
            own[label] = used[label].difference(*(found for other, found in used.items() if other != label))
    return own


_OWN_WORDS = _own_words()


def classify(text: str, classes: Sequence[str]) -> str:
    """The class whose words the text has the most of, as one who knows the language would say."""
    found = set(_WORD.findall(text.lower()))
    return max(classes, key=lambda label: len(found & _OWN_WORDS.get(label, set())))


def _pattern(template: str, slots: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: slots[slot.group(1)], re.escape(template))


_ROLLED = [re.compile(_pattern(each, {"n": r"(\d+)", "skill": r"\w+"})) for each in ROLLS]
_CAST = [re.compile(_pattern(each, {"spell": f"({'|'.join(SPELLS)})"})) for each in CASTS]


def happenings_in(text: str) -> list[tuple[str, str, str]]:
    """Kind, who, and value or name of the rolls and spells of a piece of transcript."""
    found = []
    for who, said in re.findall(rf"^({'|'.join(PLAYERS)}): (.+)$", text, re.MULTILINE):
        for kind, patterns in (("roll", _ROLLED), ("cast", _CAST)):
            match = next(filter(None, (pattern.fullmatch(said) for pattern in patterns)), None)
            if match:
                found.append((kind, who, match.group(1)))
    return found


def label_items(context: str, ask: Ask) -> tuple[list[str], list[Line]]:
    """The classes, and date, user and class of each item: read off where they are given, else asked for."""
    import re

    classes = re.findall(r"classes: (.+)\.", context)[0].split(", ")
    found = items_of(context)
    if all(" || Label: " in text for _, _, text in found):
        return classes, [(when, user, text.rpartition(" || Label: ")[2]) for when, user, text in found]
    chunks = [found[at : at + 50] for at in range(0, len(found), 50)]
    task = f"The classes: {', '.join(classes)}.\nTo which does each text belong? A line each: number. class\n\n"
    listed = ["\n".join(f"{n}. {text}" for n, (_, _, text) in enumerate(chunk, 1)) for chunk in chunks]
    items = []
    for chunk, reply in zip(chunks, ask([task + each for each in listed]), strict=True):
        labels = dict(re.findall(r"^(\d+)\. (.+)$", reply, re.MULTILINE))
        items += [(when, user, labels[str(n)]) for n, (when, user, _) in enumerate(chunk, 1)]
    return classes, items


def read_sessions(context: str, ask: Ask) -> list[tuple[int, str, str, str]]:
    """Session, kind, who, and value or name of all that happens, told by who reads some 200 lines at a time."""
    import re

    parts = re.split(r"=== Session (\d+) ===", context)[1:]
    pieces = []
    for number, text in zip(parts[0::2], parts[1::2], strict=True):
        lines = text.splitlines()
        pieces += [(int(number), "\n".join(lines[at : at + 200])) for at in range(0, len(lines), 200)]
    task = "List the dice rolls made and the spells cast, in order. A line each: kind | who | value or name\n\n"
    happenings = []
    for (session, _), reply in zip(pieces, ask([task + text for _, text in pieces]), strict=True):
        told = [line.split(" | ") for line in reply.splitlines()]
        happenings += [(session, kind, who, what) for kind, who, what in (each for each in told if len(each) == 3)]
    return happenings


def read_lines(request: ScriptedRequest) -> str:
    """The sub-LLM: labels what is listed, or lists what happens."""
    if listed := _CLASSES.search(request.prompt):
        classes = listed.group(1).split(", ")
        return "\n".join(f"{number}. {classify(text, classes)}" for number, text in _LISTED.findall(request.prompt))
    return "\n".join(" | ".join(each) for each in happenings_in(request.prompt)) or "nothing"


def known_items(text: str) -> tuple[list[str], list[Line]]:
    """The classes, and what one who reads these lines knows of them."""
    listed = _CLASSES.search(text)
    classes = listed.group(1).split(", ") if listed else []
    items = []
    for when, user, said in items_of(text):
        told, _, label = said.partition(" || Label: ")
        items.append((when, user, label or classify(told, classes)))
    return classes, items


def _answer(question: str, text: str) -> str:
    """From as much of the input as was read."""
    if "session" in question:
        parts = re.split(r"=== Session (\d+) ===", text)[1:]
        sessions = zip(map(int, parts[0::2]), parts[1::2], strict=True)
        happenings = [(number, *each) for number, part in sessions for each in happenings_in(part)]
        return answer_about_sessions(question, happenings)
    classes, items = known_items(text)
    return answer_about_items(question, classes, items) if items else "none"


def reads(request: ScriptedRequest) -> bool:
    """Whether code and sub-LLMs can read all of the input: classes that are given take no model."""
    return delegates(request) or any(" || Label: " in str(each.get("content")) for each in request.messages)


def asking(request: ScriptedRequest) -> str:
    """The function of the REPL that asks sub-LLMs, where there is one."""
    return "llm_batch" if delegates(request) else "None"


def _root(request: ScriptedRequest) -> str:
    question = question_of(request)
    if request.turn == 0:
        return cell("print(len(context))", f"print(context[:{1500 if reads(request) else PLAIN_READS}])")
    if not reads(request):
        seen = _answer(question, request.prompt)
        return cell(f"answer['content'] = {seen!r}", "answer['ready'] = True")
    ask, about_sessions = asking(request), "session" in question
    if request.turn == 1 and about_sessions:
        return cell(source(read_sessions), f"known = [read_sessions(context, {ask})]", "print(known[0][:5])")
    if request.turn == 1:
        return cell(source(items_of, label_items), f"known = label_items(context, {ask})", "print(known[1][:5])")
    solve = answer_about_sessions if about_sessions else answer_about_items
    return cell(source(solve), f"answer['content'] = {solve.__name__}({question!r}, *known)", "answer['ready'] = True")


def _bad_root(request: ScriptedRequest) -> str:
    """Counts words where it should have read."""
    named = re.findall(r"'([^']+)'", question_of(request)) or ["session"]
    return cell(f"answer['content'] = str(context.count({named[0]!r}))", "answer['ready'] = True")


def _llm(request: ScriptedRequest) -> str:
    text = material(request.prompt)
    question = request.prompt.replace(text, "")
    return tagged(_answer(question, text[:PLAIN_READS]))


ORACLE = Oracle(root=_root, bad_root=_bad_root, sub=read_lines, llm=_llm)
