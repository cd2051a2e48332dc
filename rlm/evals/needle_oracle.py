"""The scripted models of `needle`: one searches all lines by code, one names all that it sees."""

from __future__ import annotations

from collections.abc import Iterable

from rlm.evals.task import Oracle
from rlm.evals.textkit import PLAIN_READS, cell, material, no_help, question_of, source, tagged
from rlm.testing import ScriptedRequest


def find_needles(question: str, lines: Iterable[str]) -> str:
    """What a careful reader of the question does with the lines."""
    import re
    from collections import Counter

    words: Counter[str] = Counter()
    found: list[str] = []
    leads: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for line in lines:
        if "occurs nowhere else" in question:
            words.update(line.split())
        elif "magic number is" in line:
            found += re.findall(r"^The magic number is (\d+)\.$", line)
        elif " key " in line:
            leads.update(re.findall(r"^The key (\w+) leads to the key (\w+)\.$", line))
            numbers.update(re.findall(r"^The key (\w+) opens the number (\d+)\.$", line))
        elif "of station" in line:
            numbers.update(re.findall(r"^The magic number of station (\S+) is (\d+)\.$", line))
    if words:
        found = [word for word, count in words.items() if count == 1]
    elif listed := re.search(r": ([A-Z][\w-]+(?:, [A-Z][\w-]+)*)[.?]", question):
        for key in listed.group(1).split(", "):
            while key in leads:
                key = leads[key]
            found += [numbers[key]] if key in numbers else []
    return ", ".join(found) or "none"


def _root(request: ScriptedRequest) -> str:
    if request.turn == 0:
        return cell("print(type(context), len(context))", "print(context[:500])")
    return cell(
        source(find_needles),
        "lines = context.lines() if hasattr(context, 'lines') else context.splitlines()",
        f"answer['content'] = find_needles({question_of(request)!r}, lines)",
        "print(answer['content'])",
        "answer['ready'] = True",
    )


def _bad_root(request: ScriptedRequest) -> str:
    """Names every word of the first lines."""
    return cell("answer['content'] = ', '.join(sorted(set(context[:5000].split())))", "answer['ready'] = True")


def _llm(request: ScriptedRequest) -> str:
    read = material(request.prompt)[:PLAIN_READS]
    return tagged(find_needles(request.prompt, read.splitlines()))


ORACLE = Oracle(root=_root, bad_root=_bad_root, sub=no_help, llm=_llm)
