"""deepdive: the wiki, its tools, the questions, and which answers name the right thing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlm.evals.deepdive import ENVIRONMENT, Options
from rlm.evals.deepdive.bm25 import Bm25
from rlm.evals.deepdive.matching import names
from rlm.evals.deepdive.oracle import QUESTION, unwrap
from rlm.evals.deepdive.questions import describe, draw_chain
from rlm.evals.deepdive.wiki import OPEN_CHARS, Wiki, make_wiki
from rlm.evals.deepdive.world import RELATIONS, make_world
from rlm.evals.task import Task
from tests.evals.playing import answered, talked

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

SMALL = Options(pages=120, shortest=2_000, longest=30_000)
PLACE = Path("unused")


@pytest.fixture(scope="module")
def wiki() -> Wiki:
    return make_wiki(1, SMALL.pages, SMALL.shortest, SMALL.longest)


def task(index: int, options: Options = SMALL) -> Task:
    return ENVIRONMENT.task(index, seed=1, options=options, place=PLACE)


def test_bm25_prefers_rare_words_and_short_texts_and_breaks_ties_by_name() -> None:
    texts = {"b": "red bees", "a": "red bees", "long": "red bees " + "and more " * 50, "rare": "red herring"}
    index = Bm25(texts)
    assert index.best("bee", 9) == ["a", "b", "long"]
    assert index.best("red herring", 1) == ["rare"]
    assert index.best("nothing here", 5) == []
    assert index.best("", 5) == []


def test_two_thousand_pages_are_there_in_two_seconds() -> None:
    began = time.process_time()
    made = Wiki(9, 2_000, 10_000, 50_000)
    assert len(made.world) == 2_000
    # Twice what it takes on an old machine.
    assert time.process_time() - began < 4


def test_the_same_seed_makes_the_same_wiki_in_another_process(wiki: Wiki) -> None:
    name = next(iter(wiki.world))
    code = (
        "import hashlib\nfrom rlm.evals.deepdive.wiki import make_wiki\n"
        f"w = make_wiki(1, {SMALL.pages}, {SMALL.shortest}, {SMALL.longest})\n"
        f"print([w.page({name!r}), w.search('cooper sundials', 5)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str([wiki.page(name), wiki.search("cooper sundials", 5)])
    assert Wiki(2, SMALL.pages, SMALL.shortest, SMALL.longest).world != wiki.world


def test_pages_are_long_and_say_each_fact_in_one_sentence(wiki: Wiki) -> None:
    for entity in list(wiki.world.values())[::10]:
        page = wiki.page(entity.name)
        assert SMALL.shortest <= len(page) <= SMALL.longest + 5_000
        assert page.startswith(f"# {entity.name}\n")
        for relation in RELATIONS:
            if relation.source == entity.kind:
                assert relation.sentence.format(x=entity.name, y=entity.relations[relation.name]) in page


def test_open_reads_a_page_piece_by_piece(wiki: Wiki) -> None:
    search, open_ = wiki.tools
    name = max(wiki.world, key=lambda each: len(wiki.page(each)))
    page, read = wiki.page(name), ""
    assert len(page) > 2 * OPEN_CHARS
    while len(read) < len(page):
        piece = open_(name, start=len(read))
        text, _, note = piece.rpartition("\n[characters ")
        read += text
        assert note.endswith("the end]" if read == page else f"go on with start={len(read)}]")
    assert read == page
    assert open_(name, start=10**9) == f"[the page has {len(page)} characters]"
    assert open_(name, start=-5) == open_(name)
    with pytest.raises(LookupError, match=r"no page '\.\./\.\./etc/passwd'"):
        open_("../../etc/passwd")
    assert (search.__name__, open_.__name__) == ("search", "open")


def test_an_alias_opens_the_page_of_its_entity(wiki: Wiki) -> None:
    entity = next(each for each in wiki.world.values() if each.aliases)
    assert wiki.open(entity.aliases[0].upper(), 0) == wiki.open(entity.name, 0)


def test_no_two_entities_share_a_name(wiki: Wiki) -> None:
    called = [name.lower() for each in wiki.world.values() for name in (each.name, *each.aliases)]
    assert len(called) == len(set(called))


def test_search_finds_by_what_a_page_says(wiki: Wiki) -> None:
    for entity in list(wiki.world.values())[:40:8]:
        first = wiki.search(f"{entity.name} {' '.join(entity.properties.values())}", 3)[0]
        assert first["title"] == entity.name
        assert first["chars"] == len(wiki.page(entity.name))
    assert len(wiki.search("the person", 99)) == 10
    assert len(wiki.search("the person", -1)) == 1


@pytest.mark.parametrize("obscured", [True, False])
def test_each_question_has_one_answer(wiki: Wiki, obscured: bool) -> None:
    world = wiki.world
    for index in range(20):
        chain = draw_chain(world, random.Random(index), hops=3, obscured=obscured)
        core, steps = unwrap(chain.text)
        fitting = [
            each.name
            for each in world.values()
            if each.kind == world[chain.path[0]].kind and describe(each, obscured=obscured) == core
        ]
        assert fitting == [chain.path[0]]
        at = fitting[0]
        for step in steps:
            at = world[at].relations[step.name]
        assert at == chain.path[-1]
        assert len(set(chain.path)) == 4
        assert not [name for name in chain.path if name.lower() in chain.text.lower()]


def test_a_world_without_such_a_chain_is_an_error() -> None:
    with pytest.raises(ValueError, match="no chain of 200"):
        draw_chain(make_world(1, 50), random.Random(1), hops=200, obscured=True)


def test_the_tasks() -> None:
    first = [task(index) for index in range(12)]
    assert [each.info["hops"] for each in first[:4]] == [2, 3, 4, 2]
    assert len({each.question for each in first}) == 12
    assert task(5) == first[5]
    assert first[5].id == "deepdive-1-5"
    assert [tool.__name__ for tool in first[0].tools] == ["search", "open"]
    assert first[0].context is None
    assert first[0].gold["name"] == first[0].gold["path"][-1]


def test_what_cannot_be_chosen() -> None:
    wrong: dict[str, Any]
    for wrong in ({"pages": 3}, {"hops": []}, {"hops": [0]}, {"shortest": 9, "longest": 8}, {"page": 100}):
        with pytest.raises(ValidationError):
            Options.model_validate(wrong)


MARLOW = ("Ada B. Marlow", "Ada Marlow", "A. B. Marlow")


@pytest.mark.parametrize(
    "answer",
    [
        "Ada B. Marlow",
        "ada b marlow",
        "  Ada Marlow.\n",
        "A. B. Marlow",
        '"Ada B. Marlow"',
        "**Ada B. Marlow**",
        "The answer is Ada B. Marlow.",
        "Final answer: Ada Marlow",
        "It is Ada Marlow",
        r"\boxed{Ada B. Marlow}",
        "Her name was Ada B. Marlow, as the page on the firm says.",
        "First I looked at the firm of Nils Korn.\nAda B. Marlow",
        "Àda B. Márlow",
    ],
)
def test_right_names(answer: str) -> None:
    assert names(answer, MARLOW)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   ",
        "Marlow",
        "Ada",
        "Ada C. Marlow",
        "Ada B. Marlowe",
        "Ada B. Marlow, Nils Korn, Rosa Vent",
        "Ada B. Marlow\nNils Korn",
        "Ada B. Marlow or Nils Korn",
        "Nils Korn, the teacher of Ada B. Marlow",
        "Nils is the teacher of Ada B. Marlow",
        "It is not Ada B. Marlow",
        "I cannot say whether it was Ada B. Marlow",
        "Ada B. Marlow Ada B. Marlow Ada B. Marlow",
        "ada b. marlow " + "word " * 30,
        r"Ada B. Marlow, so \boxed{Nils Korn}",
        "\x00\ud800",
        "{" * 5000,
    ],
)
def test_wrong_names(answer: str) -> None:
    assert not names(answer, MARLOW)


def test_dumping_the_wiki_is_no_answer(wiki: Wiki) -> None:
    made = task(0)
    for between in (", ", "\n", " "):
        assert ENVIRONMENT.score(made, between.join(wiki.world)).reward == 0
    for name in (made.gold["name"], *made.gold["aliases"]):
        assert ENVIRONMENT.score(made, name).reward == 1
    for name in made.gold["path"][:-1]:
        assert ENVIRONMENT.score(made, name).reward == 0


def test_the_oracle_has_its_subs_look_things_up(tmp_path: Path) -> None:
    made = task(2)
    assert ENVIRONMENT.score(made, answered(ENVIRONMENT, made, tmp_path)).reward == 1
    assert ENVIRONMENT.score(made, answered(ENVIRONMENT, made, tmp_path, bad=True)).reward == 0


def test_scripted_models_find_the_way_through_the_wiki() -> None:
    oracle = ENVIRONMENT.oracle
    for index in range(9):
        made = task(index)
        found = QUESTION.search(made.question)
        assert found is not None
        core, steps = unwrap(found[1])
        name = talked(oracle.sub, f"Look up: {core}\nReply with the name alone.", made.tools, turns=8)
        for step in steps:
            name = talked(oracle.sub, f"Look up: {step.phrase.format(name)}\nReply with the name alone.", made.tools)
        assert ENVIRONMENT.score(made, name).reward == 1
        # The plain one follows two relations.
        plain = ENVIRONMENT.score(made, talked(oracle.llm, made.question, made.tools)).reward
        assert plain == (1 if made.info["hops"] <= 2 else 0)
