"""math_python: the golds, the reading of answers, and what a hostile answer cannot do."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from rlm.errors import ConfigError
from rlm.evals.math_python import ENVIRONMENT, Options
from rlm.evals.math_python.families import FAMILIES
from rlm.evals.math_python.oracle import problem
from rlm.evals.math_python.solvers import SOLVERS
from rlm.evals.task import Task
from tests.evals.playing import answered, talked

PLACE = Path("unused")


def task(gold: str) -> Task:
    return Task(id="t", question="?", context=None, gold=gold)


def reward(gold: str, answer: str) -> float:
    return ENVIRONMENT.score(task(gold), answer).reward


def test_there_are_many_kinds_and_each_has_a_second_way_to_its_answer() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) >= 12
    assert set(names) == SOLVERS.keys()


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_the_gold_is_what_the_numbers_of_the_text_give_by_another_way(family: str) -> None:
    for index in range(6):
        made = ENVIRONMENT.task(index, seed=7, options=Options(families=(family,)), place=PLACE)
        found = problem(made.question)
        assert found is not None
        assert found[0].name == family
        assert reward(made.gold, str(SOLVERS[family](**found[1]))) == 1, made.question
        assert made.info == {"variant": family}


def test_the_same_seed_makes_the_same_task_and_another_one_another() -> None:
    options = Options()
    first = [ENVIRONMENT.task(index, seed=3, options=options, place=PLACE) for index in range(30)]
    assert ENVIRONMENT.task(17, seed=3, options=options, place=PLACE) == first[17]
    assert len({each.question for each in first}) == 30
    assert ENVIRONMENT.task(17, seed=4, options=options, place=PLACE).question != first[17].question
    # Pinned: it is the same on every machine.
    assert first[1].gold == "5/11"


def test_without_sympy_there_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(ConfigError, match=r"rlm-kernel\[evals\]"):
        ENVIRONMENT.task(0, seed=1, options=Options(), place=PLACE)


def test_an_unknown_family_is_an_error() -> None:
    with pytest.raises(ValidationError, match="unknown: knots"):
        Options(families=("knots",))
    with pytest.raises(ValidationError):
        Options.model_validate({"family": ["urn"]})


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("12", "12"),
        ("12", "  12\n"),
        ("12", "12.0"),
        ("12", "The answer is 12."),
        ("12", "**12**"),
        ("12", "There are 12 of them."),
        ("12", "First we add 5 and 7.\nAnswer: 12"),
        ("12", r"It is 3 or 4? No: \boxed{12}"),
        ("12", "$12$"),
        ("12", "x = 12"),
        ("-5", "\N{MINUS SIGN}5"),
        ("1234567", "1,234,567"),
        ("1/3", "1/3"),
        ("1/3", "2/6"),
        ("1/3", r"\frac{1}{3}"),
        ("1/3", r"The probability is \boxed{\dfrac{1}{3}}."),
        ("1/3", "Fraction(1, 3)"),
        ("1/2", "0.5"),
        ("1/2", "50%"),
        ("(14 + sqrt(320))/2", "7 + 4*sqrt(5)"),
        ("(14 + sqrt(320))/2", r"$7 + 4\sqrt{5}$"),
        ("(14 + sqrt(320))/2", "7 + 4√5"),
        ("(14 + sqrt(320))/2", "7 + 80**(1/2)"),
        ("441/20*pi", "441π/20"),
        ("441/20*pi", r"\frac{441\pi}{20}"),
        ("2", "sqrt(2)*sqrt(2)"),
        ("-71/19, -29/19", "x = -71/19, y = -29/19"),
        ("-71/19, -29/19", "-71/19; -29/19"),
        ("-71/19, -29/19", r"(-71)/19, \frac{-29}{19}"),
    ],
)
def test_right_answers(gold: str, answer: str) -> None:
    assert reward(gold, answer) == 1


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("12", ""),
        ("12", "   \n"),
        ("12", "11"),
        ("12", "13"),
        ("12", "112"),
        ("12", "12 or 13"),
        ("12", "10, 11, 12, 13"),
        ("12", "It lies between 11 and 13, so 12 perhaps"),
        ("12", "The answer is 12 or 13"),
        ("12", r"12, but \boxed{13}"),
        ("12", r"\boxed{}12"),
        ("12", "twelve"),
        ("12", "nan"),
        ("12", "True"),
        ("1", "True"),
        ("1/3", "0.333333333333333333333333333333333333333333333333333333333333333"),
        ("1/3", "3/1"),
        ("(14 + sqrt(320))/2", "15.9442719099991587856366946749"),
        ("(14 + sqrt(320))/2", "7 - 4*sqrt(5)"),
        ("441/20*pi", "441/20"),
        ("441/20*pi", "69.27"),
        ("-71/19, -29/19", "-29/19, -71/19"),
        ("-71/19, -29/19", "-71/19"),
        ("-71/19, -29/19", "-71/19, -29/19, 0"),
    ],
)
def test_wrong_answers(gold: str, answer: str) -> None:
    assert reward(gold, answer) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').system('echo x > pwned')",
        "().__class__.__bases__[0]",
        "9**9**9**9",
        "factorial(10**9)",
        "comb(10**9, 5*10**8)",
        "(((2**500)**500)**500)",
        "sqrt(" * 300 + "2" + ")" * 300,
        "(" * 5000,
        "1" * 5000,
        "1e999999999",
        "sqrt(2)**512**512",
        "0**-1",
        "1/0",
        "1/(sqrt(2)-sqrt(2))",
        "sqrt(-1)",
        "pi**pi",
        "(" * 30 + "pi" + ")**512" * 30,
        "sqrt(" * 15 + "pi" + ")**511" * 15,
        "1" + " " * 3990 + "2",
        "(sqrt(2)+pi)**400/(sqrt(3)**511)",
        "\x00",
        "\ud800",
        "lambda: 1",
        "[x for x in range(10**9)]",
        "{" * 400 + "}" * 400,
        r"\boxed{" * 500,
        r"\frac{" * 500,
        "1," * 2000,
        "= " * 2000,
    ],
)
def test_hostile_answers_are_wrong_at_once(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    assert reward("(1 + sqrt(5))/2", answer) == 0
    assert reward("12", answer) == 0
    assert time.perf_counter() - began < 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("index", [2, 14])
def test_the_oracle_computes_the_answer_and_the_other_does_not(index: int, tmp_path: Path) -> None:
    made = ENVIRONMENT.task(index, seed=1, options=Options(), place=tmp_path)
    assert ENVIRONMENT.score(made, answered(ENVIRONMENT, made, tmp_path)).reward == 1
    assert ENVIRONMENT.score(made, answered(ENVIRONMENT, made, tmp_path, bad=True)).reward == 0


def test_the_plain_model_knows_some_formulas() -> None:
    options = Options()
    rewards = {}
    for index in range(len(FAMILIES)):
        made = ENVIRONMENT.task(index, seed=1, options=options, place=PLACE)
        rewards[made.info["variant"]] = ENVIRONMENT.score(made, talked(ENVIRONMENT.oracle.llm, made.question)).reward
    assert rewards["urn"] == rewards["roots"] == 1
    assert rewards["tower"] == rewards["determinant"] == 0
