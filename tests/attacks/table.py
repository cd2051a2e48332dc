"""The table of docs/security.md: attack x sandbox -> outcome, each with its test, as pytest collects them.

python -m tests.attacks.table           rewrites the section between the two markers
python -m tests.attacks.table --check   says whether it is out of date, by its exit code
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.attacks.attack import SANDBOXES, Case

HERE = Path(__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/security.md"
BEGIN = "<!-- attacks: made by `python -m tests.attacks.table` -->"
END = "<!-- /attacks -->"


class Tried(NamedTuple):
    """One attack in one sandbox."""

    case: Case
    sandbox: str
    test: str
    """The test's id, which begins with its file."""


class Collector:
    """A pytest plugin that notes what there is to be tried."""

    def __init__(self) -> None:
        self.tried: list[Tried] = []
        self.unmarked: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            marker = item.get_closest_marker("attack")
            if marker is None:
                self.unmarked.append(item.nodeid)
            elif isinstance(item, pytest.Function):
                self.tried.append(Tried(marker.args[0], str(item.callspec.params["sandbox"]), item.nodeid))


def collect() -> list[Tried]:
    """All attacks of the suite. Raises `RuntimeError` for a test that is none, and for a cell without a reason."""
    collector = Collector()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        status = pytest.main(
            # Our own modules are imported already, which pytest would warn of.
            ["--collect-only", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", str(HERE)],
            plugins=[collector],
        )
    if status != 0 or collector.unmarked:
        raise RuntimeError(f"pytest ended with {status}; tests without a row: {collector.unmarked}")
    return collector.tried


def section(tried: Iterable[Tried]) -> str:
    """Markdown: a table for each file of the suite, in the order of its tests."""
    files: dict[str, dict[str, dict[str, Tried]]] = {}
    for each in tried:
        rows = files.setdefault(each.test.partition("::")[0], {})
        rows.setdefault(each.case.name, {})[each.sandbox] = each
    lines = []
    for file in sorted(files):
        lines += ["", f"**{_subject(file)}** ([{file}](../{file}))", "", f"| attack | {' | '.join(SANDBOXES)} |"]
        lines.append("|---" * (1 + len(SANDBOXES)) + "|")
        lines += [_row(name, found) for name, found in files[file].items()]
    return "\n".join([*lines, ""])


def _subject(file: str) -> str:
    """The first words of the file's docstring."""
    text = (ROOT / file).read_text(encoding="utf-8").removeprefix('"""')
    return text.partition("\n")[0].removesuffix('"""').rstrip(".")


def _row(name: str, found: dict[str, Tried]) -> str:
    cells = []
    for sandbox in SANDBOXES:
        if sandbox in found:
            tried = found[sandbox]
            file, _, test = tried.test.partition("::")
            cells.append(f'[{tried.case.outcome}](../{file} "{test}")')
        else:
            why = next(iter(found.values())).case.missing.get(sandbox)
            if not why:
                raise RuntimeError(f"{name!r} is not tried in {sandbox}, and nothing says why")
            cells.append(f"not tried: {why}")
    return f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |"


def page(text: str, made: str) -> str:
    """The page with this section between the markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{PAGE} has no {BEGIN} … {END}")
    return before + BEGIN + "\n" + made + "\n" + END + after


def main(arguments: list[str]) -> int:
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text, section(collect()))
    if wanted == text:
        return 0
    if arguments == ["--check"]:
        sys.stderr.write("docs/security.md does not tell the attacks of the suite: python -m tests.attacks.table\n")
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
