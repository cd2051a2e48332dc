"""Transcripts of a role-playing game: dice rolls and spells among chatter, and among talk about rolls and spells."""

from __future__ import annotations

from typing import NamedTuple

from rlm.evals.textkit import Draw, words

PLAYERS = words("Mira Torin Keel Sabine Orlo")
SKILLS = words("perception stealth athletics arcana insight persuasion survival acrobatics")
SPELLS = ("Fireball", "Misty Step", "Mage Hand", "Shield", "Sleep", "Thunderwave", "Healing Word", "Web", "Bless")

ROLLS = (
    "I rolled a {n} for {skill}.",
    "That is a {n} on {skill}.",
    "The die for {skill} says {n}.",
    "Okay, {skill}, a {n} it is.",
    "Look at that, a {n}! For {skill}, right?",
)
CASTS = (
    "I cast {spell}.",
    "I am going to use {spell} on them, now.",
    "Right, there goes my slot, {spell} it is.",
    "My hands weave {spell}, and I grin.",
    "Then {spell} leaves my staff.",
)
_TALK = (
    "If I had rolled a {n} for {skill} we would be out by now.",
    "Remember when somebody got a {n} on {skill}?",
    "We would need at least a {n} for {skill}.",
    "Should I cast {spell} or wait?",
    "Please do not cast {spell} in here!",
    "I used {spell} last week, never again.",
)
_CHATTER = (
    "The corridor smells of wet stone.",
    "Who has the map?",
    "I open the door, slowly.",
    "Is there any pizza left?",
    "The old woman shakes her head and says nothing.",
    "Wait, which of us carries the torch?",
    "A bell rings somewhere below you.",
    "I write that down.",
    "We should rest before the bridge.",
    "Somebody laughs behind the wall.",
)


class Happening(NamedTuple):
    """A roll that was made (`what` is its value) or a spell that was cast (`what` is its name)."""

    session: int
    kind: str
    """`roll` or `cast`."""
    player: str
    what: str


def draw_sessions(draw: Draw, *, count: int, sessions: int) -> tuple[list[Happening], str]:
    """What happens, and the transcript."""
    happenings: list[Happening] = []
    lines = [f"The transcript of {sessions} sessions of a role-playing game.", ""]
    for number in range(1, sessions + 1):
        lines += [f"=== Session {number} ===", ""]
        for _ in range(count * number // sessions - count * (number - 1) // sessions):
            lines += [_aside(draw) for _ in range(draw.between(1, 3))]
            happening, line = _happening(draw, number)
            happenings.append(happening)
            lines.append(line)
        lines += [_aside(draw), ""]
    return happenings, "\n".join(lines)


def _happening(draw: Draw, session: int) -> tuple[Happening, str]:
    player = draw.pick(PLAYERS)
    if draw.chance(0.55):
        value = str(draw.between(1, 20))
        line = draw.pick(ROLLS).format(n=value, skill=draw.pick(SKILLS))
        return Happening(session, "roll", player, value), f"{player}: {line}"
    spell = draw.pick(SPELLS)
    return Happening(session, "cast", player, spell), f"{player}: {draw.pick(CASTS).format(spell=spell)}"


def _aside(draw: Draw) -> str:
    speaker = draw.pick((*PLAYERS, "DM", "DM"))
    if draw.chance(0.25):
        said = draw.pick(_TALK)
        return f"{speaker}: {said.format(n=draw.between(1, 20), skill=draw.pick(SKILLS), spell=draw.pick(SPELLS))}"
    return f"{speaker}: {draw.pick(_CHATTER)}"
