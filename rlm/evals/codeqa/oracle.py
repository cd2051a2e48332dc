"""Scripted models that answer questions about code: one by the syntax tree, the others by what lines look like."""

from __future__ import annotations

import inspect
import re

from rlm.evals.codeqa import facts
from rlm.evals.codeqa.questions import understood
from rlm.evals.textkit import PLAIN_READS, cell, told
from rlm.testing import ScriptedRequest


def root(request: ScriptedRequest) -> str:
    """Parses all files, computes the answer, looks at it and gives it."""
    found = understood(told(request))
    if found is None:
        return cell("answer['content'] = 'I do not understand the question.'\nanswer['ready'] = True")
    kind, chosen = found
    if request.turn == 0:
        return cell("paths = [path for path in context.paths() if path.endswith('.py')]\nprint(len(paths), paths[:20])")
    if request.turn == 1:
        return cell(
            f"{inspect.getsource(facts)}\n\nknown = Facts({{path: str(context[path]) for path in paths}})\n"
            f"value = known.{kind.name}(**{chosen!r})\nprint(value)\n"
            "answer['content'] = ', '.join(value) if isinstance(value, list) else str(value)"
        )
    return cell("print(answer['content'])\nanswer['ready'] = True")


def bad_root(request: ScriptedRequest) -> str:
    """Searches for the first name of the question, and takes what the lines begin with for the answer."""
    found = understood(told(request))
    word = list(found[1].values())[-1] if found else "def"
    return cell(
        f"hits = context.grep({re.escape(word)!r}, limit=5)\n"
        "words = [hit[2].split()[0] for hit in hits if hit[2].split()]\n"
        "answer['content'] = f'{len(hits)} or {len(hits) + 1}: ' + ', '.join(words)\n"
        "answer['ready'] = True"
    )


def sub(request: ScriptedRequest) -> str:
    """Reads the passage of its prompt as the plain model does."""
    return llm(request)


def llm(request: ScriptedRequest) -> str:
    """Reads the beginning of its prompt and goes by how lines look: no syntax tree, and not far."""
    said = told(request)
    found = understood(said)
    if found is None:
        return "I do not understand the question."
    kind, chosen = found
    passage = said[:PLAIN_READS]
    if kind.form == "number":
        pattern = {"coroutines": r"^\s*async def ", "classes": r"^\s*class \w"}.get(kind.name, r"^    def ")
        return str(len(re.findall(pattern, passage, re.MULTILINE)))
    if kind.name == "subclasses":
        return ", ".join(re.findall(rf"^\s*class (\w+)\(.*\b{chosen['name']}\b.*\)", passage, re.MULTILINE)) or "none"
    if kind.name == "raised":
        return ", ".join(dict.fromkeys(re.findall(r"\braise ([A-Z]\w*)", passage))) or "none"
    return ", ".join(re.findall(r"^\s*def (\w+)", passage, re.MULTILINE)[:1]) or "none"
