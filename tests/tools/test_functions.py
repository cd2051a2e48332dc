"""Functions for the REPL: on the host, or shipped as source."""

from __future__ import annotations

import collections
import functools
import json as j
import math
import os.path
import xml.etree.ElementTree
from collections import Counter as Count
from collections import abc
from math import pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rlm.errors import ConfigError
from rlm.tools import Function, Tool
from rlm.tools.shipping import ShippedFunction, ship

if TYPE_CHECKING:
    from nowhere import Thing  # type: ignore[import-not-found]

LIMIT = 5


def area(width: float, height: float = 1) -> float:
    """The area of a rectangle."""
    return width * height


def report(texts: list[Thing], n: int = sqrt(4)) -> dict[str, Thing]:  # type: ignore[assignment]
    """Count words.

    More of it.
    """
    # a comment stays
    seen: Thing = Count(word for text in texts for word in text.split())

    class Inner:
        size: Thing = math.floor(n + 0.5)

    def nested(text: str) -> Any:
        return j.loads(text) if text else collections.Counter()

    if len(texts) > 10:
        return report(texts[:10])
    return {
        "most": seen.most_common(Inner.size),
        "nested": nested("[1]"),
        "path": os.path.join("a", "b"),
        "xml": xml.etree.ElementTree.fromstring("<a/>").tag,
        "abc": isinstance(seen, abc.Mapping),
        "Path": str(Path("x")),
    }


EXPECTED = {"most": [("a", 2), ("b", 1)], "nested": [1], "path": "a/b", "xml": "a", "abc": True, "Path": "x"}


def run(shipped: ShippedFunction, **known: Any) -> Any:
    names: dict[str, Any] = dict(known)
    exec(compile(shipped.source, "shipped", "exec", dont_inherit=True), names)
    return names[shipped.name]


def test_a_function_on_the_host_is_a_tool_for_the_root():
    function = Function(area, description="Multiplies.", timeout=5, concurrency=2)
    tool = function.called("surface")
    assert isinstance(tool, Tool)
    assert (tool.name, tool.route, tool.description, tool.timeout, tool.concurrency) == (
        "surface",
        "root",
        "Multiplies.",
        5,
        2,
    )
    assert tool.signature["summary"] == "`surface(width: float, height: float = 1) -> float` - Multiplies."
    assert function.called("surface") is tool, "its limits hold for all runs together"


def test_a_shipped_function_stands_on_its_own():
    shipped = ship("words", report)
    lines = shipped.source.splitlines()
    assert lines[: lines.index("")] == [
        "from __future__ import annotations",
        "from collections import Counter as Count",
        "from math import sqrt",
        "from pathlib import Path",
        "import collections",
        "import collections.abc as abc",
        "import json as j",
        "import math",
        "import os",
        "import os.path",
        "import xml",
        "import xml.etree",
        "import xml.etree.ElementTree",
    ]
    assert "    # a comment stays" in lines
    assert lines[-1] == "words = report"
    assert run(shipped)(["a b", "a"]) == EXPECTED
    assert shipped.doc == "Count words.\n\nMore of it."
    assert shipped.signature == "(texts: list[Thing], n: int = 2.0) -> dict[str, Thing]"
    assert shipped.summary == "`words(texts: list[Thing], n: int = 2.0) -> dict[str, Thing]` - Count words."


def test_its_own_name_needs_no_alias():
    source = ship("area", area).source
    assert source.startswith("from __future__ import annotations\n\n\ndef area(")
    assert "area = area" not in source


def test_a_description_replaces_the_docstring():
    function = Function(area, ship=True, description="Another.").called("area")
    assert isinstance(function, ShippedFunction)
    assert function.doc == "Another."
    assert function.summary.endswith(" - Another.")


def test_names_of_the_repl_are_known_there():
    def summarise(text: str) -> Any:
        return llm_query(f"Summarise: {text}")  # type: ignore[name-defined]  # noqa: F821

    shipped = ship("summarise", summarise, known={"llm_query"})
    assert run(shipped, llm_query=str.upper)("x") == "SUMMARISE: X"
    with pytest.raises(ConfigError, match="'llm_query' is not defined"):
        ship("summarise", summarise)


async def later() -> int:
    return 1


def test_an_async_function_can_be_shipped():
    assert "async def later" in ship("later", later).source


# --- what cannot go along ---------------------------------------------------------------------


def uses_a_constant() -> int:
    return LIMIT


def uses_one_in_a_comprehension() -> list[int]:
    return [LIMIT for _ in range(3)]


def uses_one_as_default(n: int = LIMIT) -> int:
    return n


def uses_a_neighbour() -> float:
    return area(1)


def uses_an_imported_constant() -> float:
    return pi


def closure() -> Any:
    limit = 3

    def inner() -> int:
        return limit

    return inner


@functools.wraps(area)
def wrapped(*args: Any) -> Any:
    return area(*args)


def keep(function: Any) -> Any:
    return function


@keep
def decorated() -> None: ...


class Shape:
    def area(self) -> int:
        return 1


made_by_exec: dict[str, Any] = {}
exec("def unseen(): return 1", made_by_exec)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (uses_a_constant, "the global 'LIMIT'"),
        (uses_one_in_a_comprehension, "the global 'LIMIT'"),
        (uses_one_as_default, "the global 'LIMIT'"),
        (uses_a_neighbour, "the global 'area'"),
        (uses_an_imported_constant, "the global 'pi'"),
        (closure(), "'limit' of the function around it"),
        (wrapped, "decorated"),
        (decorated, "decorated"),
        (lambda: 1, "lambda"),
        (Shape().area, "not a method"),
        (Shape, "not a type"),
        (len, "builtin_function_or_method"),
        (functools.partial(area, 1), "not a partial"),
        (made_by_exec["unseen"], "source cannot be had"),
    ],
)
def test_what_cannot_be_shipped_is_named(function, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Function(function, ship=True).called("f")
    assert str(caught.value).startswith("function 'f': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Function(5),  # type: ignore[arg-type]
        lambda: Function(area, timeout=-1),
        lambda: Function(area, concurrency=0),
        lambda: Function(area).called("not a name"),
        lambda: Function(area, ship=True).called("not a name"),
    ],
)
def test_mistakes_are_config_errors(make):
    with pytest.raises(ConfigError):
        make()
