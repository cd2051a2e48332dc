"""Which expression an answer gives, and the plain form of its notation. The text is hostile: none of it is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_ANSWER = 4000
"""Characters of an answer that are looked at: its end."""
MAX_LINE = 500
MAX_MARKS = 4

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?(?!\w)")
_MARKED = re.compile(r"(?:\banswer\b(?:\s+is)?\s*[:=]?|\bresult\b(?:\s+is)?\s*[:=]?|[=≈:])\s*", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_NAMED = re.compile(r"^[A-Za-z]\w?\s*=(?!=)")
_SYMBOLS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{MIDDLE DOT}": "*",
    "\N{DOT OPERATOR}": "*",
    "\N{DIVISION SIGN}": "/",
    "\N{GREEK SMALL LETTER PI}": "pi",
    "\N{SQUARE ROOT}": "sqrt",
    "^": "**",
}
_COMMANDS = {"cdot": "*", "times": "*", "pi": " pi ", "left": "", "right": "", "displaystyle": ""}


def candidates(answer: str) -> Iterator[str]:
    """What an answer may mean, likeliest first; the first that can be read as an expression counts.

    In order: the last `\\boxed{…}`; the whole answer; what follows the last `answer is`, `:` or `=` of the last line;
    the only number of the answer, if it names just one.
    """
    text = answer[-MAX_ANSWER:].strip()
    if (boxed := _boxed(text)) is not None:
        yield boxed
        return
    yield text
    lines = text.splitlines() or [""]
    last = lines[-1].strip()[-MAX_LINE:]
    for mark in list(_MARKED.finditer(last))[: -MAX_MARKS - 1 : -1]:
        yield last[mark.end() :]
    numbers = {re.sub(r"[,\s]", "", each.rstrip(",")) for each in _NUMBER.findall(text)}
    if len(numbers) == 1:
        yield numbers.pop()


def parts(text: str) -> list[str]:
    """The values of an answer, split at commas outside parentheses: `x = 1, y = 2` -> `["1", "2"]`."""
    text = plain(text)
    found, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character in ",;" and depth == 0:
            found.append(text[start:at])
            start = at + 1
    found.append(text[start:])
    return [_NAMED.sub("", each.strip()).strip() for each in found]


def plain(text: str) -> str:
    """LaTeX, Unicode and Markdown as an expression: `$\\frac{1}{2}\\pi$` -> `((1)/(2)) pi`."""
    text = re.sub(r"[$`]|\*\*(?=\s|$)|^\*\*|\\[()\[\]!,;]", "", text.strip())
    for _ in range(4):
        text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)
        text = re.sub(r"(?:\\sqrt|√)\s*\{([^{}]*)\}", r" sqrt(\1)", text)
    text = re.sub(r"\\([a-z]+)", lambda found: _COMMANDS.get(found[1], " "), text)
    for symbol, meaning in _SYMBOLS.items():
        text = text.replace(symbol, meaning)
    text = re.sub(r"sqrt\s*(\d+)", r"sqrt(\1)", text).replace("{", "(").replace("}", ")")
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    text = re.sub(r"^(\d+(?:\.\d+)?)\s*%$", r"(\1)/100", text.strip().removesuffix(".").strip())
    # 2 sqrt(3), 3pi, (1/2)pi: a product without its sign.
    return re.sub(r"(?<=[\d)])\s*(?=sqrt|pi|\()", "*", text)


def _boxed(text: str) -> str | None:
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    start, depth = at + len("\\boxed{"), 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start:end]
    return None
