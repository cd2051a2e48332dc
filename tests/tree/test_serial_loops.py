"""A root that asks one by one: its loop goes through the whole house as one batch, and the trace says so."""

from __future__ import annotations

import time

import pytest

from rlm.testing import Turns
from tests.tree.conftest import FINISH, cell

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox has no wall")

LOOP = "out = []\nfor i in range(100):\n    prompt = f'part {i}'\n    out.append(llm_query(prompt))\n"
READ = "answer['content'] = ' '.join(r[-3:].strip() for r in out)\n" + FINISH
ANSWER = " ".join(f"{i:>3}".strip() for i in range(100))


def script():
    return {
        "root": Turns([cell(LOOP + READ)]),
        "sub": lambda asked: f"about {asked.prompt.split()[-1]:>3}",
    }


async def test_a_serial_loop_is_one_batch_and_the_trace_says_of_which_line(stage, sandbox):
    began = time.monotonic()
    result = await stage.run(script(), sandbox=sandbox, server_delay=0.1)
    assert result.answer == ANSWER
    assert result.usage.sub.calls == 100
    assert [(e["size"], e.get("loop")) for e in stage.of("batch.started")] == [(100, 2)]
    # As written it would be ten seconds.
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("auto_parallel", [True, False])
async def test_switched_off_each_is_a_batch_of_its_own_with_the_same_answer(stage, auto_parallel):
    result = await stage.run(script(), auto_parallel=auto_parallel)
    assert result.answer == ANSWER
    assert len(stage.of("batch.started")) == (1 if auto_parallel else 100)
    assert sorted(stage.prompts("sub")) == sorted(f"part {i}" for i in range(100))


async def test_votes_of_a_loop_are_asked_separately_and_remembered_in_order(stage):
    votes = "out = []\nfor i in range(5):\n    out.append(llm_query('vote'))\nfirst = [str(r) for r in out]\n"
    again = votes.replace("first", "second") + "answer['content'] = str(first == second)\n" + FINISH
    count = iter(range(100))
    replies = {"root": Turns([cell(votes), cell(again)]), "sub": lambda asked: f"vote {next(count)}"}
    result = await stage.run(replies)
    assert result.answer == "True"
    assert len(stage.prompts("sub")) == 5


@pytest.mark.parametrize("auto_parallel", [True, False])
async def test_a_limit_is_met_in_the_same_place(stage, auto_parallel):
    tell = "answer['content'] = ' '.join(getattr(r, 'kind', 'ok') for r in out)\n" + FINISH
    replies = {"root": Turns([cell(LOOP + tell)]), "sub": "ok"}
    result = await stage.run(replies, auto_parallel=auto_parallel, max_sub_calls=10)
    assert result.answer.split() == ["ok"] * 10 + ["budget"] * 90
    assert result.usage.sub.calls == 10
