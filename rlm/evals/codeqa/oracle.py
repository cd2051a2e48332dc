"""Scripted models that answer questions about code: one by the syntax tree, the others by what lines look like."""

from __future__ import annotations

import inspect
import re

from rlm.evals.codeqa import facts
from rlm.evals.codeqa.questions import understood
from rlm.testing import ScriptedRequest
from rlm.testing.script import message_text

READ = 20_000
"""As many characters of its prompt as the plain model reads."""


def root(request: ScriptedRequest) -> str:
    """Parses all files, computes the answer, looks at it and gives it."""
    found = understood(_user_text(request))
    if found is None:
        return _cell("answer['content'] = 'I do not understand the question.'\nanswer['ready'] = True")
    kind, chosen = found
    if request.turn == 0:
        return _cell(
            "paths = [path for path in context.paths() if path.endswith('.py')]\nprint(len(paths), paths[:20])"
        )
    if request.turn == 1:
        return _cell(
            f"{inspect.getsource(facts)}\n\nknown = Facts({{path: str(context[path]) for path in paths}})\n"
            f"value = known.{kind.name}(**{chosen!r})\nprint(value)\n"
            "answer['content'] = ', '.join(value) if isinstance(value, list) else str(value)"
        )
    return _cell("print(answer['content'])\nanswer['ready'] = True")


def bad_root(request: ScriptedRequest) -> str:
    """Searches for the first name of the question, and takes what the lines begin with for the answer."""
    found = understood(_user_text(request))
    word = list(found[1].values())[-1] if found else "def"
    return _cell(
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
    said = _user_text(request)
    found = understood(said)
    if found is None:
        return "I do not understand the question."
    kind, chosen = found
    passage = said[:READ]
    if kind.form == "number":
        pattern = {"coroutines": r"^\s*async def ", "classes": r"^\s*class \w"}.get(kind.name, r"^    def ")
        return str(len(re.findall(pattern, passage, re.MULTILINE)))
    if kind.name == "subclasses":
        return ", ".join(re.findall(rf"^\s*class (\w+)\(.*\b{chosen['name']}\b.*\)", passage, re.MULTILINE)) or "none"
    if kind.name == "raised":
        return ", ".join(dict.fromkeys(re.findall(r"\braise ([A-Z]\w*)", passage))) or "none"
    return ", ".join(re.findall(r"^\s*def (\w+)", passage, re.MULTILINE)[:1]) or "none"


def _user_text(request: ScriptedRequest) -> str:
    return "\n".join(message_text(each) for each in request.messages if each.get("role") == "user")


def _cell(code: str) -> str:
    return f"```repl\n{code}\n```"
