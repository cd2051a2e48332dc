"""codeqa: what is computed of code, how it is asked, and how answers are compared."""

from __future__ import annotations

import inspect
import json.decoder
import logging.handlers
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlm.errors import ConfigError
from rlm.evals.codeqa import ENVIRONMENT, Options
from rlm.evals.codeqa.facts import Facts
from rlm.evals.codeqa.library import read_library
from rlm.evals.codeqa.questions import KINDS, understood
from rlm.evals.codeqa.scoring import members, score
from tests.evals.playing import answered, talked

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

SMALL = Options(packages=("json", "html", "logging"))

SAMPLE = '''
import os, os.path
from json import dumps
from . import sibling

class Base(Exception): pass

class Child(Base, metaclass=type):
    """With methods."""
    @property
    def one(self):
        "Says one."
        return helper(1)
    @functools.lru_cache(maxsize=None)
    async def two(self, a, /, b, *args, c=1, **kwargs):
        def inner():
            return helper(2)
        if a:
            raise errors.Broken("x") from None
        raise
    if True:
        def hidden(self): pass

def helper(x):
    raise error
'''


@pytest.fixture(scope="module")
def sample() -> Facts:
    return Facts({"pkg/a.py": SAMPLE, "pkg/sub/b.py": "class Base: pass\nclass D(pkg.a.Base): pass", "c.txt": "("})


def test_what_is_read_off_a_file(sample: Facts) -> None:
    assert sample.subclasses("Base") == ["Child", "D"]
    assert sample.defined("Base") == ["pkg/a.py", "pkg/sub/b.py"]
    assert sample.defined("one") == []
    assert sample.callers("pkg/a.py", "helper") == ["inner", "one"]
    assert sample.longest("pkg/a.py") == ["two"]
    assert sample.widest("pkg/a.py") == ["two"]
    assert sample.decorated("pkg", "lru_cache") == sample.decorated("pkg", "property") == 1
    assert sample.decorated("pk", "property") == 0
    assert sample.raised("pkg/a.py") == ["Broken"]
    assert sample.methods("pkg/a.py", "Child") == 2
    assert sample.coroutines("pkg/a.py") == 1
    assert sample.classes("pkg") == 4
    assert sample.classes("pkg/sub") == 2
    assert sample.importers("os.path") == sample.importers("json") == ["pkg/a.py"]
    assert sample.undocumented("pkg/a.py") == 4


def test_the_facts_are_those_of_the_imported_modules() -> None:
    facts = read_library(SMALL.packages).facts
    own = [each for each in vars(logging.handlers.SysLogHandler).values() if inspect.isfunction(each)]
    assert facts.methods("logging/handlers.py", "SysLogHandler") == len(own)
    assert facts.defined("JSONDecodeError") == ["json/decoder.py"]
    here = [name for name, each in vars(logging.handlers).items() if inspect.isclass(each)]
    assert {"SocketHandler", "SMTPHandler"} <= set(here).intersection(facts.subclasses("Handler"))
    assert facts.subclasses("SocketHandler") == ["DatagramHandler"]
    (longest,) = facts.longest("json/decoder.py")
    functions = [each for each in vars(json.decoder).values() if inspect.isfunction(each)]
    assert longest == max(functions, key=lambda each: len(inspect.getsource(each).splitlines())).__name__


def test_each_kind_is_asked_and_understood_and_answered_by_its_gold(tmp_path: Path) -> None:
    options = Options()
    facts = read_library(options.packages).facts
    seen = set()
    for index in range(2 * len(KINDS)):
        task = ENVIRONMENT.task(index, seed=5, options=options, place=tmp_path)
        found = understood(task.question)
        assert found is not None
        kind, chosen = found
        assert (kind.name, kind.form) == (task.info["variant"], task.gold["form"])
        assert kind.value(facts, chosen) == task.gold["value"]
        value = task.gold["value"]
        written = ", ".join(value) if isinstance(value, list) else str(value)
        assert ENVIRONMENT.score(task, written).reward == 1
        assert ENVIRONMENT.score(task, "").reward == 0
        seen.add(kind.name)
    assert seen == {kind.name for kind in KINDS}


def test_the_same_seed_makes_the_same_task_in_another_process(tmp_path: Path) -> None:
    code = (
        "import pathlib\nfrom rlm.evals.codeqa import ENVIRONMENT, Options\n"
        f"o = Options(packages={SMALL.packages!r})\n"
        f"print(ENVIRONMENT.task(4, seed=1, options=o, place=pathlib.Path({str(tmp_path)!r})))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(ENVIRONMENT.task(4, seed=1, options=SMALL, place=tmp_path))
    ids = {ENVIRONMENT.task(index, seed=1, options=SMALL, place=tmp_path).question for index in range(12)}
    assert len(ids) == 12


def test_the_folder_holds_the_packages_without_their_tests(tmp_path: Path) -> None:
    task = ENVIRONMENT.task(0, seed=1, options=SMALL, place=tmp_path)
    assert isinstance(task.context, Path)
    assert task.context.parent == tmp_path
    files = {path.relative_to(task.context).as_posix() for path in task.context.rglob("*") if path.is_file()}
    assert {"json/decoder.py", "html/parser.py", "logging/__init__.py"} <= files
    assert {name.split("/")[0] for name in files} == {"json", "html", "logging"}
    assert ENVIRONMENT.task(1, seed=1, options=SMALL, place=tmp_path).context == task.context
    assert list(tmp_path.iterdir()) == [task.context]


def test_what_cannot_be_chosen(tmp_path: Path) -> None:
    wrong: dict[str, Any]
    for wrong in ({"packages": ["../etc"]}, {"packages": []}, {"kinds": ["taste"]}, {"kind": ["longest"]}):
        with pytest.raises(ValidationError):
            Options.model_validate(wrong)
    with pytest.raises(ConfigError, match="no package 'nosuch'"):
        ENVIRONMENT.task(0, seed=0, options=Options(packages=("nosuch",)), place=tmp_path)


@pytest.mark.parametrize(
    ("form", "gold", "answer", "reward"),
    [
        ("number", 7, "7", 1),
        ("number", 7, " There are **7** of them.\n", 1),
        ("number", 1234, "1,234", 1),
        ("number", 7, "7, that is 7 in all", 1),
        ("number", 7, "6", 0),
        ("number", 7, "between 6 and 7", 0),
        ("number", 7, "1 2 3 4 5 6 7 8 9", 0),
        ("number", 7, "seven", 0),
        ("number", 7, "", 0),
        ("number", 7, "x7", 0),
        ("name", "main", "main", 1),
        ("name", "main", " `main()`.", 1),
        ("name", "main", "The longest is `Server.main`.", 1),
        ("name", "main", "Main", 0),
        ("name", "main", "main, other", 0),
        ("name", "main", "", 0),
        ("path", "a/b.py", "./a/b.py", 1),
        ("path", "a/b.py", "It is defined in `a/b.py`.", 1),
        ("path", "a/b.py", "b.py", 0),
        ("path", "a/b.py", "a/b.py\na/c.py", 0),
        ("names", ["A", "B"], "A, B", 1),
        ("names", ["A", "B"], "- `A`\n- `B`\n", 1),
        ("names", ["A", "B"], "The classes are B and A.", 1),
        ("names", ["A", "B"], "['A', 'B']", 1),
        ("names", ["A", "B"], "A, A, A, B", 1),
        ("names", ["A", "B"], "A", 2 / 3),
        ("names", ["A", "B"], "A, B, C", 0.8),
        ("names", ["A", "B"], "a, b", 0),
        ("names", ["A", "B"], "", 0),
        ("paths", ["a.py", "b/c.py"], "1. a.py\n2. b/c.py", 1),
    ],
)
def test_scores(form: str, gold: object, answer: str, reward: float) -> None:
    assert score(form, gold, answer).reward == pytest.approx(reward)


def test_naming_everything_is_worth_next_to_nothing() -> None:
    everything = ", ".join(f"name_{n}" for n in range(500))
    assert score("names", ["name_1", "name_2"], everything).reward < 0.01


def test_nearness_of_a_number_is_a_metric_only() -> None:
    near = score("number", 10, "8")
    assert (near.reward, near.metrics["nearness"]) == (0, 0.75**2)
    assert score("number", 10, "9" * 400).reward == 0


def test_hostile_answers_are_scored(tmp_path: Path) -> None:
    for text in (
        "\x00",
        "`" * 30_000,
        "," * 30_000,
        "\ud800",
        "{" * 5000,
        "a: " * 8000,
        f"x{' ' * 19_000}x",
        " and " * 6000,
        "1" * 20_000,
    ):
        for form, gold in (("number", 7), ("name", "main"), ("names", ["A", "B"])):
            assert score(form, gold, text).reward == 0
    assert members("f() and g()", paths=False) == ["f", "g"]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 3])
def test_the_oracle_computes_the_answer_and_the_other_does_not(index: int, tmp_path: Path) -> None:
    task = ENVIRONMENT.task(index, seed=3, options=SMALL, place=tmp_path / "place")
    assert ENVIRONMENT.score(task, answered(ENVIRONMENT, task, tmp_path)).reward == 1
    assert ENVIRONMENT.score(task, answered(ENVIRONMENT, task, tmp_path, bad=True)).reward < 1


def test_the_plain_model_reads_no_more_than_the_beginning(tmp_path: Path) -> None:
    task = ENVIRONMENT.task(0, seed=3, options=Options(kinds=("coroutines",)), place=tmp_path)
    far = f"{task.question}\n{'x' * 30_000}\nasync def f(): pass"
    assert talked(ENVIRONMENT.oracle.llm, far) == "0"
