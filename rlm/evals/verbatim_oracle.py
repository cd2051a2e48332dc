"""The scripted models of `verbatim`. They slip once every 300 characters; the good one reads its draft again."""

from __future__ import annotations

import ast
import re

from rlm.evals.task import Oracle
from rlm.evals.textkit import cell, no_help, question_of, tagged
from rlm.testing import ScriptedRequest

_SURE = 300
"""Characters after which a slip comes."""
_ROW = 60
_ROWS_PRINTED = re.compile(r"""^(\d+) ('.*'|".*")$""", re.MULTILINE)


def _text(asked: str) -> str:
    start, end = asked.find("<text>", asked.find("</text>")), asked.rfind("</text>")
    return asked[start + len("<text>") : end]


def _typed(text: str) -> str:
    """The text as a hasty typist copies it: two characters change places now and then."""
    typed = list(text)
    for at in range(_SURE, len(typed) - 1, _SURE):
        typed[at], typed[at + 1] = typed[at + 1], typed[at]
    return "".join(typed)


def _root(request: ScriptedRequest) -> str:
    text = _text(question_of(request))
    if request.turn == 0:
        return cell(
            f"answer['content'] = {_typed(text)!r}",
            f"for at in range(0, len(answer['content']), {_ROW}):",
            f"    print(at, repr(answer['content'][at:at + {_ROW}]))",
        )
    rows = [(int(at), ast.literal_eval(row)) for at, row in _ROWS_PRINTED.findall(request.prompt)]
    repairs = {at: text[at : at + _ROW] for at, row in rows if row != text[at : at + _ROW]}
    return cell(
        "draft = answer['content']",
        f"for at, right in {repairs!r}.items():",
        "    draft = draft[:at] + right + draft[at + len(right):]",
        "answer['content'] = draft",
        "answer['ready'] = True",
    )


def _bad_root(request: ScriptedRequest) -> str:
    """Ends the run without a look at the draft."""
    return cell(f"answer['content'] = {_typed(_text(question_of(request)))!r}.strip('}}')", "answer['ready'] = True")


def _llm(request: ScriptedRequest) -> str:
    return tagged(_typed(_text(request.prompt)))


ORACLE = Oracle(root=_root, bad_root=_bad_root, sub=no_help, llm=_llm)
