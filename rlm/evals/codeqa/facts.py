"""What the syntax trees of Python files say. The scripted root sends this file to the REPL, so it stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class FunctionFacts:
    """A function or method, however deep it is nested."""

    name: str
    lines: int
    """From the line of its `def` to its last one."""
    parameters: int
    is_async: bool
    documented: bool
    decorators: list[str]
    calls: set[str] = field(default_factory=set)
    """The last part of what is called, without what nested functions call."""


@dataclass(slots=True)
class ClassFacts:
    """A class, however deep it is nested."""

    name: str
    bases: list[str]
    methods: int
    """Those that its own body defines."""


@dataclass(slots=True)
class FileFacts:
    """One file."""

    functions: list[FunctionFacts] = field(default_factory=list)
    classes: list[ClassFacts] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)
    """Classes and functions at its top level."""
    raised: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    """Modules, by their absolute names as they are written."""


class Facts:
    """Answers questions about files, given as texts by their paths."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.files = {path: _read(texts[path]) for path in sorted(texts) if path.endswith(".py")}

    def of(self, folder: str) -> Iterator[FileFacts]:
        """Of all files in a folder and below."""
        return (facts for path, facts in self.files.items() if path.startswith(f"{folder}/"))

    def subclasses(self, name: str) -> list[str]:
        return _names(c.name for facts in self.files.values() for c in facts.classes if name in c.bases)

    def defined(self, name: str) -> list[str]:
        return [path for path, facts in self.files.items() if name in facts.defined]

    def callers(self, path: str, name: str) -> list[str]:
        return _names(f.name for f in self.files[path].functions if name in f.calls)

    def longest(self, path: str) -> list[str]:
        """More than one where several are equally long."""
        functions = self.files[path].functions
        most = max((f.lines for f in functions), default=0)
        return [f.name for f in functions if f.lines == most]

    def widest(self, path: str) -> list[str]:
        """More than one where several have equally many parameters."""
        functions = self.files[path].functions
        most = max((f.parameters for f in functions), default=0)
        return [f.name for f in functions if f.parameters == most]

    def decorated(self, folder: str, name: str) -> int:
        return sum(name in f.decorators for facts in self.of(folder) for f in facts.functions)

    def raised(self, path: str) -> list[str]:
        return sorted(self.files[path].raised)

    def methods(self, path: str, name: str) -> int:
        return next(c.methods for c in self.files[path].classes if c.name == name)

    def coroutines(self, path: str) -> int:
        return sum(f.is_async for f in self.files[path].functions)

    def classes(self, folder: str) -> int:
        return sum(len(facts.classes) for facts in self.of(folder))

    def importers(self, name: str) -> list[str]:
        return [path for path, facts in self.files.items() if name in facts.imported]

    def undocumented(self, path: str) -> int:
        return sum(not f.documented for f in self.files[path].functions)


def _read(text: str) -> FileFacts:
    facts = FileFacts()
    tree = ast.parse(text)
    facts.defined = [node.name for node in tree.body if isinstance(node, Definition | ast.ClassDef)]
    _walk(tree, facts, None)
    return facts


def _walk(node: ast.AST, facts: FileFacts, inside: FunctionFacts | None) -> None:
    for child in ast.iter_child_nodes(node):
        within = inside
        if isinstance(child, Definition):
            within = _function(child)
            facts.functions.append(within)
        elif isinstance(child, ast.ClassDef):
            methods = sum(isinstance(each, Definition) for each in child.body)
            facts.classes.append(ClassFacts(child.name, [_last(base) for base in child.bases], methods))
        elif isinstance(child, ast.Call):
            if inside is not None:
                inside.calls.add(_last(child.func))
        elif isinstance(child, ast.Raise):
            raised = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            # `raise error`, in lower case, is a variable.
            if raised is not None and _last(raised)[:1].isupper():
                facts.raised.add(_last(raised))
        elif isinstance(child, ast.Import):
            facts.imported.update(alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            facts.imported.add(child.module)
        _walk(child, facts, within)


def _function(node: Definition) -> FunctionFacts:
    arguments = node.args
    counted = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return FunctionFacts(
        name=node.name,
        lines=(node.end_lineno or node.lineno) - node.lineno + 1,
        parameters=sum(each is not None for each in counted),
        is_async=isinstance(node, ast.AsyncFunctionDef),
        documented=ast.get_docstring(node) is not None,
        decorators=[_last(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list],
    )


def _last(node: ast.AST) -> str:
    """The last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(found: Iterator[str]) -> list[str]:
    return sorted(set(found))
