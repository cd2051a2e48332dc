"""What can be asked about a folder of code: the wording, what it is asked about, and in which form it is answered."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlm.evals.codeqa.facts import Facts

Form = Literal["name", "path", "number", "names", "paths"]
Chosen = dict[str, str]

FORMS: dict[str, str] = {
    "name": "Answer with the name alone.",
    "path": "Answer with its path alone, relative to the folder.",
    "number": "Answer with the number alone.",
    "names": "Answer with the names alone, each once, separated by commas.",
    "paths": "Answer with their paths alone, relative to the folder, separated by commas.",
}
MAX_MEMBERS = 15
"""Of an answer that is a set."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of question; its name is that of the method of `Facts` that answers it."""

    name: str
    form: Form
    text: str
    """A template with what it is about in backticks."""
    subjects: Callable[[Facts], Sequence[Chosen]]
    """All that it can be asked about, in a fixed order."""

    def value(self, facts: Facts, chosen: Chosen) -> Any:
        """The answer as JSON; None: it has none in this form, or one that is not worth asking for."""
        found = getattr(facts, self.name)(**chosen)
        if self.form == "number":
            return found if found > 0 else None
        if self.form in ("name", "path"):
            return found[0] if len(found) == 1 else None
        return found if 2 <= len(found) <= MAX_MEMBERS else None


def _each_file(facts: Facts) -> list[Chosen]:
    return [{"path": path} for path, file in facts.files.items() if len(file.functions) >= 5]


def _folders(facts: Facts) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[0] for path in facts.files))


def _bases(facts: Facts) -> list[Chosen]:
    bases = {base for file in facts.files.values() for each in file.classes for base in each.bases if base}
    return [{"name": base} for base in sorted(bases - {"object"})]


def _definitions(facts: Facts) -> list[Chosen]:
    names = {name for file in facts.files.values() for name in file.defined}
    return [{"name": name} for name in sorted(names) if len(name) > 3]


def _called(facts: Facts) -> list[Chosen]:
    return [
        {"path": path, "name": name}
        for path, file in facts.files.items()
        for name in sorted(set().union(*(each.calls for each in file.functions)) - {""})
    ]


def _decorators(facts: Facts) -> list[Chosen]:
    return [
        {"folder": folder, "name": name}
        for folder in _folders(facts)
        for name in sorted({d for file in facts.of(folder) for f in file.functions for d in f.decorators} - {""})
    ]


def _classes(facts: Facts) -> list[Chosen]:
    found = []
    for path, file in facts.files.items():
        names = Counter(each.name for each in file.classes)
        found += [{"path": path, "name": name} for name in sorted(names) if names[name] == 1]
    return found


def _modules(facts: Facts) -> list[Chosen]:
    return [{"name": name} for name in sorted(set().union(*(file.imported for file in facts.files.values())))]


KINDS = (
    Kind(
        "subclasses",
        "names",
        "Which classes in the folder have a base written as `{name}`, or as a dotted name that ends in it?",
        _bases,
    ),
    Kind(
        "defined",
        "path",
        "Which file of the folder defines a class or function `{name}` at its top level, outside any other statement?",
        _definitions,
    ),
    Kind(
        "longest",
        "name",
        "Which function or method of the file `{path}` is the longest, counted from the line of its `def` to its last"
        " line? Nested functions count too.",
        _each_file,
    ),
    Kind(
        "decorated",
        "number",
        "How many functions and methods in `{folder}/` and below have the decorator `{name}`, also as the last part of"
        " a dotted name, with or without arguments?",
        _decorators,
    ),
    Kind(
        "raised",
        "names",
        "Which exceptions does the file `{path}` raise by a name that begins with a capital letter, as `raise X` or"
        " `raise X(...)`? Of a dotted name give the last part.",
        _each_file,
    ),
    Kind(
        "methods",
        "number",
        "How many methods does the body of class `{name}` in the file `{path}` define with `def` or `async def`,"
        " directly and not within another statement?",
        _classes,
    ),
    Kind(
        "callers",
        "names",
        "Which functions and methods of the file `{path}` call `{name}(...)`, also as the last part of a dotted name?"
        " A call counts for the innermost function around it.",
        _called,
    ),
    Kind(
        "coroutines",
        "number",
        "How many functions and methods does the file `{path}` define with `async def`, nested ones included?",
        _each_file,
    ),
    Kind(
        "importers",
        "paths",
        "Which files of the folder import the module `{name}`, as `import {name}` or `from {name} import ...`,"
        " anywhere in the file? Its submodules do not count.",
        _modules,
    ),
    Kind(
        "widest",
        "name",
        "Which function or method of the file `{path}` has the most parameters, `self`, `*args` and `**kwargs` counted"
        " as one each?",
        _each_file,
    ),
    Kind(
        "classes",
        "number",
        "How many classes are defined in `{folder}/` and below, nested ones included?",
        lambda facts: [{"folder": folder} for folder in _folders(facts)],
    ),
    Kind(
        "undocumented",
        "number",
        "How many functions and methods of the file `{path}` have no docstring, nested ones included?",
        _each_file,
    ),
)


def draw(kind: Kind, facts: Facts, rng: random.Random) -> tuple[Chosen, Any] | None:
    """What is asked about, and the answer; None where this code has nothing for such a question."""
    subjects = list(kind.subjects(facts))
    for chosen in rng.sample(subjects, len(subjects)):
        value = kind.value(facts, chosen)
        if value is not None:
            return chosen, value
    return None


def understood(text: str) -> tuple[Kind, Chosen] | None:
    """The kind of question that a text asks, and about what."""
    for kind in KINDS:
        seen: set[str] = set()

        def group(found: re.Match[str], seen: set[str] = seen) -> str:
            name = found[1]
            known = name in seen
            seen.add(name)
            return f"(?P={name})" if known else rf"(?P<{name}>[\w./]+)"

        if found := re.search(re.sub(r"\\\{(\w+)\\\}", group, re.escape(kind.text)), text):
            return kind, found.groupdict()
    return None
