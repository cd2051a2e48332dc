"""Questions over a wiki: one entity described without its name, and from there several relations on.

Each relation leads to exactly one entity and the description fits exactly one, so there is one answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlm.evals.deepdive.world import PROPERTIES_OF, RELATIONS_OF, YEARS, Entity, Relation

_OPENING = {
    "person": "the person who",
    "firm": "the firm that",
    "book": "the book that",
    "town": "the town that",
}


@dataclass(frozen=True, slots=True)
class Chain:
    """A question as it was made."""

    text: str
    """E.g. `the birthplace of the founder of the firm that …`."""
    path: Sequence[str]
    """The names of the entities on the way; the last one is the answer."""


def draw_chain(world: Mapping[str, Entity], rng: random.Random, *, hops: int, obscured: bool) -> Chain:
    """A chain of `hops` relations. Raises `ValueError` for a world that has none."""
    names = [each.name for each in world.values() if each.kind in _OPENING]
    for _ in range(1000):
        entity = world[rng.choice(names)]
        if not _is_one_of_a_kind(world, entity):
            continue
        text, path = describe(entity, obscured=obscured), [entity.name]
        for _ in range(hops):
            step = _step(rng, world[path[-1]], path)
            if step is None:
                break
            text = step.phrase.format(text)
            path.append(world[path[-1]].relations[step.name])
        else:
            return Chain(text, path)
    raise ValueError(f"no chain of {hops} relations in a wiki of {len(world)} pages")


def describe(entity: Entity, *, obscured: bool) -> str:
    """An entity by what it is and does, without a name."""
    said = []
    for each in PROPERTIES_OF[entity.kind]:
        value = entity.properties[each.name]
        if obscured:
            said.append(each.phrase.format(each.values[value]))
        else:
            said.append(("was a {}" if each.name == "occupation" else each.phrase).format(value))
    decade = entity.year // 10 * 10
    said.append(YEARS[entity.kind][1].format(decade, decade + 9))
    return f"{_OPENING[entity.kind]} {', '.join(said[:-1])} and {said[-1]}"


def _is_one_of_a_kind(world: Mapping[str, Entity], entity: Entity) -> bool:
    def seen(each: Entity) -> tuple[object, ...]:
        return each.kind, each.properties, each.year // 10

    wanted = seen(entity)
    return sum(seen(each) == wanted for each in world.values()) == 1


def _step(rng: random.Random, entity: Entity, path: Sequence[str]) -> Relation | None:
    """A relation that leads somewhere new."""
    new = [each for each in RELATIONS_OF[entity.kind] if entity.relations[each.name] not in path]
    return rng.choice(new) if new else None
