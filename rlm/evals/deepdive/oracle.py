"""Scripted models that look things up: they know the language of the wiki and what its roundabout words mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlm.evals.deepdive.wiki import OPEN_CHARS
from rlm.evals.deepdive.world import PROPERTIES, RELATIONS, YEARS, Property, Relation
from rlm.evals.textkit import cell, told
from rlm.testing import ScriptedRequest
from rlm.testing.script import message_text

QUESTION = re.compile(r"what is the name of (.+)\? Answer with the name alone", re.DOTALL)
_TASK = re.compile(r"Look up: (.+)\nReply with the name alone")
_DESCRIPTION = re.compile(r"the (person|firm|book|town) (?:who|that) (.+) and \D+ between (\d{3})0 and \d+")
PAGES_AT_ONCE = 3
PATIENCE = 14
"""Turns after which the plain model gives up."""
PLAIN_HOPS = 2
"""As many relations as the plain model follows before it takes what it has for the answer."""


def root(request: ScriptedRequest) -> str:
    """Takes the question apart, has the first entity found twice over, and follows one relation after the other."""
    said = told(request)
    found = QUESTION.search(said)
    if found is None:
        return cell("answer['content'] = 'I do not understand the question.'\nanswer['ready'] = True")
    core, steps = unwrap(found[1])
    if request.turn == 0:
        prompts = [f"Look up: {core}\nReply with the name alone{end}" for end in (".", ", after checking each point.")]
        return cell(
            f"replies = llm_batch({prompts!r})\nprint(replies)\n"
            "names = [str(reply).strip() for reply in replies if reply]\nname = max(names, key=names.count)"
        )
    if request.turn == 1:
        phrases = [step.phrase for step in steps]
        ask = "llm_query('Look up: ' + phrase.format(name) + '\\nReply with the name alone.')"
        return cell(
            f"for phrase in {phrases!r}:\n    name = str({ask}).strip()\n    print(phrase, '->', name)\n"
            "answer['content'] = name"
        )
    return cell("print(answer['content'])\nanswer['ready'] = True")


def bad_root(request: ScriptedRequest) -> str:
    """Hands the whole question to one sub-LLM, and passes on what comes back."""
    found = QUESTION.search(told(request))
    prompt = f"Tell me the name of {found[1] if found else 'this'}, please."
    return cell(f"answer['content'] = llm_query({prompt!r})\nanswer['ready'] = True")


def sub(request: ScriptedRequest) -> Any:
    """Looks one thing up with `search` and `open`; what takes several steps is too much for it."""
    found = _TASK.search(told(request))
    if found is None:
        return "That cannot be found in a few look-ups."
    core, steps = unwrap(found[1])
    return _looked_up(request, core, steps[:1])


def llm(request: ScriptedRequest) -> Any:
    """The same with native calls in one conversation; loses the thread after a few relations."""
    found = QUESTION.search(told(request))
    if found is None:
        return "I do not understand the question."
    if request.turn >= PATIENCE:
        return "I could not find it."
    core, steps = unwrap(found[1])
    return _looked_up(request, core, steps[:PLAIN_HOPS])


def unwrap(text: str) -> tuple[str, list[Relation]]:
    """What is at the heart of a chain, a name or a description, and the relations in the order to follow."""
    steps: list[Relation] = []
    while True:
        for relation in RELATIONS:
            start, _, end = relation.phrase.partition("{}")
            if text.startswith(start) and text.endswith(end):
                text = text[len(start) : len(text) - len(end)]
                steps.insert(0, relation)
                break
        else:
            return text, steps


@dataclass(slots=True)
class _Seen:
    """What a conversation with tools has come to know."""

    text: str = ""
    """All pages that were read."""
    titles: list[str] = field(default_factory=list)
    """Of search results, in their order."""
    queries: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]]) -> _Seen:
        seen = cls()
        for message in messages:
            for call in message.get("tool_calls") or ():
                arguments = json.loads(call["function"]["arguments"])
                seen.queries.add(arguments.get("query", ""))
                seen.opened.add(arguments.get("title", ""))
            if message.get("role") == "tool":
                seen._take(message_text(message))
        return seen

    def _take(self, text: str) -> None:
        try:
            results = json.loads(text)
        except ValueError:
            # Pieces of a page follow on one another in the middle of a word.
            piece = re.sub(r"\n?\[(?:characters|the page has) [^\]]*\]$", "", text)
            self.text += f"\n{piece}" if piece.startswith("# ") else piece
            return
        self.titles += [each["title"] for each in results if isinstance(each, dict)]

    def value(self, sentence: str, name: str) -> str | None:
        """What stands for `{y}` in a sentence about `name` that was read."""
        start, end = sentence.format(x=name, y="\0").split("\0")
        # A full stop after a single letter is that of an initial.
        ending = re.escape(end).replace(r"\.", r"(?<! [A-Z])\.")
        found = re.search(rf"(?:^|\n|\. ){re.escape(start)}(.+?){ending}", self.text)
        return found[1] if found else None


def _looked_up(request: ScriptedRequest, core: str, steps: Sequence[Relation]) -> Any:
    seen = _Seen.of(request.messages)
    description = _DESCRIPTION.fullmatch(core)
    name: str | None = core
    if description is not None:
        properties = dict(_properties(description[1], f"{description[2]}, "))
        query = " ".join(properties.values())
        if query not in seen.queries:
            return _calls([("search", {"query": query, "n": 10})])
        name = next((each for each in seen.titles if _fits(seen, each, description, properties)), None)
        if name is None:
            return _open([each for each in seen.titles if each not in seen.opened][:PAGES_AT_ONCE])
    for step in steps:
        if name is None:
            break
        found = seen.value(step.sentence, name)
        if found is None and name not in seen.opened:
            return _open([name])
        name = found
    return name or "It is not in the wiki."


def _properties(kind: str, text: str) -> Iterator[tuple[str, str]]:
    """What a description says, in the words of the pages."""
    for each in PROPERTIES:
        for plain, obscured in each.values.items() if each.source == kind else ():
            if _is_said(each, text, plain, obscured):
                yield each.name, plain


def _is_said(each: Property, text: str, plain: str, obscured: str) -> bool:
    written = "was a {}" if each.name == "occupation" else each.phrase
    return f"{each.phrase.format(obscured)}, " in text or f"{written.format(plain)}, " in text


def _fits(seen: _Seen, name: str, description: re.Match[str], properties: Mapping[str, str]) -> bool:
    year = seen.value(YEARS[description[1]][0], name)
    sentences = {each.name: each.sentence for each in PROPERTIES}
    same = all(seen.value(sentences[each], name) == value for each, value in properties.items())
    return same and year is not None and year.startswith(description[3])


def _open(titles: Sequence[str]) -> Any:
    """The pages, whole: a piece is asked for whether or not the page is so long."""
    if not titles:
        return "It is not in the wiki."
    starts = range(0, 5 * OPEN_CHARS, OPEN_CHARS)
    return _calls([("open", {"title": title, "start": start}) for title in titles for start in starts])


def _calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    return {
        "text": "",
        "tool_calls": [
            {"id": f"call_{n}", "name": name, "arguments": dict(arguments)} for n, (name, arguments) in enumerate(calls)
        ],
    }
