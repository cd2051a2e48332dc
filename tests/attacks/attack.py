"""What an attack is, how it is judged, and that the run goes on after it.

An attack is data: a cell of hostile code, and what must come of it. `tests.attacks.table` makes the table of
docs/security.md from these and from what `case` says of the attacks that take a test function of their own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import pytest

from tests.kernels.conftest import Rig

Outcome = Literal[
    "refused",
    "not there",
    "limited",
    "interrupted",
    "kernel replaced",
    "sandbox replaced",
    "bridge closed",
    "own run only",
    "text only",
    "harmless",
]
"""The words of the table; `docs/security.md` says what each means."""

Test = TypeVar("Test", bound=Callable[..., Any])


class Mark(Protocol):
    """A decorator of test functions."""

    def __call__(self, function: Test, /) -> Test: ...


SANDBOXES = ("docker", "bwrap")
WALLED = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in SANDBOXES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One cell of hostile code and what must come of it.

    The words of `outcome` are checked, not told: `interrupted` wants a cell that was stopped and a kernel that kept
    its variables, `kernel replaced` one that died, `bridge closed` a broken bridge, and all others a cell that ended
    by itself. `says` is a regular expression for all that the cell prints.
    """

    name: str
    outcome: Outcome
    code: str
    says: str | None = None
    death: str | None = None
    """The reason of a kernel's death, where that is certain."""
    timeout: float = 30.0
    """Active seconds that the cell is given."""
    within: float = 10.0
    """Wall seconds after which it must be over."""
    slow: bool = False
    noted: bool = False
    """Whether the host notes that the protocol was broken, although nothing comes of it."""
    sweep: bool = False
    """Whether it leaves processes behind, which a fresh kernel must be rid of."""
    only: str | None = None
    """The one sandbox in which it can be tried."""
    why_only: str = ""

    @property
    def id(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Case:
    """What the table needs to know of an attack that is a test function."""

    name: str
    outcome: str
    missing: dict[str, str] = field(default_factory=dict)


def case(name: str, outcome: Outcome, *, slow: bool = False, **missing: str) -> Mark:
    """Marks a test function as an attack; it takes `sandbox`. `missing`: why a sandbox has no such attack."""
    given = [param for param in WALLED if param.values[0] not in missing]
    marks = [
        pytest.mark.attack(Case(name, outcome, missing)),
        pytest.mark.parametrize("sandbox", given, scope="module"),
        *([pytest.mark.slow_attack] if slow else []),
    ]

    return _all(marks)


def _all(marks: Sequence[pytest.MarkDecorator]) -> Mark:
    def mark(function: Test) -> Test:
        for each in marks:
            function = each(function)
        return function

    return mark


def cases(*attacks: Attack) -> Mark:
    """Runs a test function, which takes `sandbox` and `attack`, for each attack in each sandbox."""
    assert len({attack.id for attack in attacks}) == len(attacks)
    params = [
        pytest.param(
            name,
            attack,
            id=f"{name}-{attack.id}",
            marks=[
                getattr(pytest.mark, name),
                pytest.mark.attack(
                    Case(attack.name, attack.outcome, {each: attack.why_only for each in SANDBOXES if attack.only})
                ),
                *([pytest.mark.slow_attack] if attack.slow else []),
            ],
        )
        for name in SANDBOXES
        for attack in attacks
        if attack.only in (None, name)
    ]
    return _all([pytest.mark.parametrize(("sandbox", "attack"), params, scope="module")])


DRAFT = "the draft so far"
SIZE = 6000
"""Characters of the one file of the input."""
LOOK = f"answer['content'] == {DRAFT!r}, len(context['input.txt']), 'kept' in globals(), 1 + 1"


async def arm(rig: Rig) -> None:
    """What must be there after the attack."""
    assert await rig.text(f"kept = 'kept'\nanswer['content'] = {DRAFT!r}\n{LOOK}") == f"(True, {SIZE}, True, 2)"
    rig.events.clear()


async def strike(rig: Rig, attack: Attack) -> str:
    """Run the attack, judge it, and show that the run goes on; returns what the cell printed."""
    await arm(rig)
    result = await rig.run(attack.code, timeout=attack.timeout)
    output = (result.output + result.output_tail).strip()
    assert result.seconds < attack.within, result
    if attack.says is not None:
        assert re.fullmatch(attack.says, output, re.DOTALL), result
    match attack.outcome:
        case "interrupted":
            assert result.status == "timeout", result
        case "kernel replaced" | "sandbox replaced":
            assert result.status == "died", result
            assert attack.death in (None, result.death.reason), result
        case "bridge closed":
            await _until(lambda: rig.happened("protocol.error"))
            assert result.status in {"ok", "error"}, result
        case _:
            assert result.status == "ok", result
    lost = attack.outcome in ("kernel replaced", "sandbox replaced")
    await recovered(rig, lost=lost, sub_calls=attack.outcome != "bridge closed")
    if not attack.noted:
        # The sub-call of `recovered` came after all that the attack sent.
        assert len(rig.happened("protocol.error")) == int(attack.outcome == "bridge closed"), rig.events
    if attack.outcome == "bridge closed" or attack.sweep:
        await revive(rig)
    return str(output)


async def _until(holds: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def recovered(rig: Rig, *, lost: bool = False, sub_calls: bool = True) -> None:
    """The next cell works; the input and the answer are there, and so are variables unless their kernel is `lost`."""
    assert await rig.text(LOOK, timeout=20) == f"(True, {SIZE}, {not lost}, 2)"
    if sub_calls:
        assert await rig.text("llm_query('x')") == "'re: x'"


async def revive(rig: Rig) -> None:
    """After a broken bridge: a fresh kernel of the same run has sub-calls again."""
    await rig.run("import os; os._exit(0)")
    rig.events.clear()
    await recovered(rig, lost=True)
    assert int(await rig.text("import os\nsum(name.isdigit() for name in os.listdir('/proc'))")) < 10
