"""What the demo's two scripted models say.

The root's replies are fixed, but the code in them is real: it has to find its way in the input, and its
output depends on it. The sub-model's replies are computed from its prompts alone, as a model's would be.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from importlib.resources import files

from rlm.testing import Reply, ScriptedRequest, Turns

ROOT_MODEL = "scripted-root"
SUB_MODEL = "scripted-sub"

QUESTION = (
    "Which modules of this library define context managers (classes with __enter__ and __exit__), "
    "what is each module for, and how many such classes does it define?"
)

_TURNS = ("turn1.md", "turn2.md", "turn3.md")
_MODULE = re.compile(r"^Module: (.+)$", re.MULTILINE)
_FENCE = re.compile(r"<source>\n(.*?)(?:</source>|\Z)", re.DOTALL)


def root_replies() -> Turns:
    """The root's replies, by turn."""
    folder = files(__package__) / "replies"
    return Turns([(folder / name).read_text(encoding="utf-8") for name in _TURNS])


def sub_reply(request: ScriptedRequest) -> Reply:
    """One sentence on the module whose source the prompt holds, after 0.2 to 0.5 s as a model might take."""
    prompt = request.prompt
    module = _MODULE.search(prompt)
    source = _FENCE.search(prompt)
    text = describe(module[1] if module else "?", source[1] if source else "")
    return Reply(text=text, delay=0.2 + 0.3 * hashlib.sha256(prompt.encode()).digest()[0] / 255)


def describe(module: str, source: str) -> str:
    """The first sentence of the module's docstring, else what it defines first."""
    sentence = re.split(r"(?<=[.!?])\s|\n\s*\n", _docstring(source).strip(), maxsplit=1)[0]
    sentence = " ".join(sentence.split()).rstrip(":")
    if sentence:
        return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    names = re.findall(r"^(?:class|def) (\w+)", source, re.MULTILINE)
    return f"Has no docstring; begins with {', '.join(names[:3])}." if names else f"{module} has no docstring."


def _docstring(source: str) -> str:
    """Of a source that may break off anywhere, which is why it is not parsed as a whole."""
    head = re.match(r"""(?:\s*\#[^\n]*\n|\s)*[rRuU]?("{3}|'{3}|"|')(.*?)\1""", source, re.DOTALL)
    if head is None:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old modules hold escapes that the parser frowns upon
        try:
            value = ast.literal_eval(source[head.start(1) : head.end(0)])
        except (SyntaxError, ValueError):
            return head[2]
    return value if isinstance(value, str) else ""
