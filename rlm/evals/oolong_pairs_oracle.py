"""The scripted models of `oolong_pairs`: the classes come from sub-LLMs, the pairs from code."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.evals.oolong_oracle import Line, asking, items_of, known_items, label_items, read_lines, reads
from rlm.evals.task import Oracle
from rlm.evals.textkit import PLAIN_READS, cell, material, question_of, source, tagged
from rlm.testing import ScriptedRequest


def find_pairs(question: str, items: Sequence[Line]) -> str:
    """The pairs that the condition holds for, one a line."""
    import re
    from itertools import permutations

    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    def day(text: str) -> tuple[int, int]:
        month, number, _ = re.findall(r"\w+", text)
        return months.index(month), int(number)

    def meeting(condition: str) -> set[int]:
        needs = re.findall(r"(at least|exactly) (\d+) [^']+ '([^']+)'(?: dated after (\w+ \d+, \d+))?", condition)
        met = {int(user) for _, user, _ in items}
        for how, count, label, after in needs:
            fit = [int(user) for when, user, each in items if each == label and (not after or day(when) > day(after))]
            met = {
                user
                for user in met
                if (fit.count(user) == int(count) if how == "exactly" else fit.count(user) >= int(count))
            }
        return met

    one, _, other = question.partition(" and the other has ")
    first = meeting(one)
    second = meeting(other) if other else first
    pairs = {tuple(sorted(pair)) for pair in permutations(first | second, 2) if pair[0] in first and pair[1] in second}
    return "\n".join(f"({a}, {b})" for a, b in sorted(pairs)) or "none"


def _root(request: ScriptedRequest) -> str:
    question = question_of(request)
    if request.turn == 0:
        return cell("print(len(context))", f"print(context[:{1500 if reads(request) else PLAIN_READS}])")
    if not reads(request):
        seen = find_pairs(question, known_items(request.prompt)[1])
        return cell(f"answer['content'] = {seen!r}", "answer['ready'] = True")
    if request.turn == 1:
        code = source(items_of, label_items)
        return cell(code, f"_, items = label_items(context, {asking(request)})", "print(items[:5])")
    return cell(source(find_pairs), f"answer['content'] = find_pairs({question!r}, items)", "answer['ready'] = True")


def _bad_root(request: ScriptedRequest) -> str:
    """Lists every pair."""
    return cell(
        "import itertools, re",
        r"users = sorted(set(re.findall(r'User: (\d+)', context)))",
        r"answer['content'] = '\n'.join(f'({a}, {b})' for a, b in itertools.combinations(users, 2))",
        "answer['ready'] = True",
    )


def _llm(request: ScriptedRequest) -> str:
    text = material(request.prompt)
    return tagged(find_pairs(request.prompt.replace(text, ""), known_items(text[:PLAIN_READS])[1]))


ORACLE = Oracle(root=_root, bad_root=_bad_root, sub=read_lines, llm=_llm)
