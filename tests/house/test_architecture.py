"""The rules of the house, read off the source itself: who may import whom, and what no module may hold."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the top down. A name is a module of `rlm` or a package with all that is in it. Each imports from the lines
# below its own only, however late it does so: not from above, and not from its neighbours.
LAYERS = (
    {"commands"},
    {"evals", "mcpserver"},
    {"batches"},
    {"export"},
    {"demo", "view", "serve"},
    {"agent", "replay", "notebook", "service"},
    {"run", "runstream"},
    {"display"},
    {"tree", "record", "briefing", "keeping", "plain", "citations"},
    {"loop", "sandboxes", "parts"},
    {"compaction"},
    {"root", "observation", "repetition", "installs", "metrics", "otel", "route"},
    {"conversation"},
    {"reply"},
    {"blocks"},
    {"calls", "kernels", "models", "context", "trace"},
    {"bridge", "budget", "documents", "testing", "tools"},
    {"layers", "pastreader", "prices", "prompts", "result", "web"},
    {"errors", "catalog", "past", "resulthtml"},
    {"events", "config", "protocols", "assets", "escapes", "estimate", "gates", "purse", "threads"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Third-party code is known behind one boundary each, where its errors become ours: a name of the drawing, or a
# module of such a package.
BOUNDARIES = {
    "docker": {"kernels"},
    "requests": {"kernels"},
    "jupyter_client": {"kernels"},
    "openai": {"models"},
    "httpx": {"context.fetch", "commands", "models"},
    "httpx2": {"models", "tools.mcp"},
    "mcp": {"tools.mcp", "tools.content", "mcpserver", "commands.mcp"},
    "aiohttp": {"models", "testing"},
    "yarl": {"models"},
    "pytest": {"testing"},
    "jinja2": {"prompts"},
    "markitdown": {"documents"},
    "pyarrow": {"documents"},
    "charset_normalizer": {"context.encodings"},
    "jsonschema": {"calls"},
    "referencing": {"calls"},
    "genai_prices": {"catalog"},
    "starlette": {"view", "serve"},
    "uvicorn": {"view", "serve", "web"},
    "prometheus_client": {"serve.metrics"},
    "typer": {"commands"},
    "rich": {"display", "commands"},
    "opentelemetry": {"otel", "commands"},
    "IPython": {"display"},
    "ray": {"batches"},
    "matplotlib": {"evals"},
    "sympy": {"evals"},
    "verifiers": {"evals"},
    "datasets": {"evals"},
}

GUEST_PACKAGES = {"ipykernel", "IPython", "traitlets", "zmq", "PIL"}

MAX_LINES = 400

# What models are told is long; what code needs as a string is short. Text for people may be longer.
MAX_WORDS = 30
FOR_PEOPLE = {"batches", "commands", "demo", "evals", "export", "testing", "errors"}
# These speak with the models: here a sentence that is not the message of an error is a prompt.
TURN = {"run", "tree", "loop", "root", "conversation", "observation", "repetition", "reply", "prompts", "calls"}
TURN |= {"compaction", "tools"}
MAX_WORDS_OF_TURN = 12


class Import(NamedTuple):
    target: str
    """What is imported: a module of ours by its full name, else the dotted name as written."""
    line: int


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def sources(*places: str) -> list[Path]:
    """All Python files under these places of the checkout."""
    found = [file for place in places for file in (ROOT / place).rglob("*.py")]
    assert found, f"no sources under {places}"
    return sorted(found)


def modules() -> dict[str, Path]:
    """The modules of `rlm` by name."""
    return {module_name(path): path for path in sources("rlm")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The name in the drawing: `kernels` for `rlm.kernels.docker`; "" for `rlm` itself."""
    return module.removeprefix("rlm").strip(".").partition(".")[0]


def imports(path: Path, known: Iterable[str] = ()) -> Iterator[Import]:
    """Everything that a file imports, at its top or later. `from a import b` is `a.b` where that is known."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno)


def imports_within_rlm() -> Iterator[tuple[str, Import]]:
    known = modules()
    for module, path in known.items():
        for each in imports(path, known):
            if each.target.partition(".")[0] == "rlm":
                yield module, each


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_the_two_sides_do_not_import_each_other():
    crossing = [place(path, each.line) for path in sources("sandbox") for each in imports(path) if root(each) == "rlm"]
    crossing += [
        place(path, each.line)
        for path in sources("rlm")
        for each in imports(path)
        if root(each) in {"sandbox", "guest"}
    ]
    assert not crossing


def root(each: Import) -> str:
    return each.target.partition(".")[0]


def test_the_guest_needs_the_standard_library_and_the_kernels_own_packages_only():
    allowed = sys.stdlib_module_names | GUEST_PACKAGES | {"guest"}
    assert not [
        f"{place(path, each.line)}: {each.target}"
        for path in sources("sandbox")
        for each in imports(path)
        if root(each) not in allowed
    ]


def test_the_drawing_holds_every_module_and_no_other():
    drawn = [name for names in LAYERS for name in names]
    assert sorted(drawn) == sorted({part_of(module) for module in modules()} - {""})


def test_imports_lead_downward():
    known = modules()
    upward = []
    for module, each in imports_within_rlm():
        here, there = part_of(module), part_of(each.target)
        # The package itself only names what others may import from it.
        if not here or here == there:
            continue
        if not there or LEVEL[there] <= LEVEL[here]:
            upward.append(f"{place(known[module], each.line)}: {here} imports {there or 'rlm'}")
    assert not upward


def test_no_module_leads_back_to_itself():
    graph: dict[str, set[str]] = {}
    for module, each in imports_within_rlm():
        # A package lists its modules for its users; only importing it from within would be a circle.
        if module != "rlm":
            graph.setdefault(module, set()).add(each.target)
    assert len(graph) > 50
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_third_party_code_stays_behind_its_boundary():
    known = modules()
    outside = [
        f"{place(path, each.line)}: {each.target}"
        for module, path in known.items()
        for each in imports(path)
        if {part_of(module), module.removeprefix("rlm.")}.isdisjoint(BOUNDARIES.get(root(each), {part_of(module)}))
    ]
    assert not outside


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in [*sources("rlm", "sandbox", "benchmarks"), ROOT / "cli.py"]
        if parsed(path).body and not ast.get_docstring(parsed(path))
    ]
    assert not silent


def test_no_module_is_too_long_to_read():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources("rlm", "sandbox")
    }
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_no_error_is_swallowed_whatever_it_is():
    swallowed = [
        place(path, node.lineno)
        for path in sources("rlm", "sandbox", "benchmarks")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.ExceptHandler) and catches_all(node.type) and does_nothing(node.body))
        or (isinstance(node, ast.Call) and called(node) == "suppress" and any(map(catches_all, node.args)))
    ]
    assert not swallowed


def catches_all(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(catches_all, kind.elts))
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def does_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(each, ast.Pass | ast.Continue)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in body
    )


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_no_code_holds_a_prompt():
    found = []
    for module, path in modules().items():
        part = part_of(module)
        if part in FOR_PEOPLE:
            continue
        limit = MAX_WORDS_OF_TURN if part in TURN else MAX_WORDS
        for line, text in sentences(parsed(path)):
            if len(text.split()) > limit:
                found.append(f"{place(path, line)}: {text[:60]}…")
    assert not found


def test_no_message_to_a_model_is_written_in_code():
    """`{"role": …, "content": "…"}` with the words in place."""
    written = []
    for path in modules().values():
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Dict):
                continue
            items = {literal(key): value for key, value in zip(node.keys, node.values, strict=True)}
            if "role" in items and (words := literal(items.get("content"))) and words.strip():
                written.append(place(path, node.lineno))
    assert not [each for each in written if not each.startswith("rlm/testing/")]


def test_prompts_are_texts_and_each_is_used():
    files = [path for path in (ROOT / "prompts").rglob("*") if path.is_file() and not path.name.startswith(".")]
    names = {path.stem for path in files}
    assert {path.suffix for path in files} == {".md"}
    rendered = {literal(node) for path in modules().values() for node in ast.walk(parsed(path))}
    assert names <= rendered


def literal(node: ast.AST | None) -> str | None:
    """The words of a string as written, those of an f-string included; None for all that is not a string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(value) or "{}" for value in node.values)
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def sentences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings of a module by line, without docstrings and what a `raise` says."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            skipped.update(map(id, ast.walk(node)))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
    for node in ast.walk(tree):
        if id(node) not in skipped and (text := literal(node)) is not None:
            yield getattr(node, "lineno", 0), text
