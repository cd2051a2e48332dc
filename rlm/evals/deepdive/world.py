"""The entities of a generated wiki: people, firms, towns, books and rivers, and how each is related to others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlm.evals.deepdive import words

SHARES = {"person": 0.4, "firm": 0.15, "town": 0.15, "book": 0.2, "river": 0.1}


@dataclass(frozen=True, slots=True)
class Relation:
    """From one entity to exactly one other, as its page puts it and as a question does."""

    name: str
    source: str
    target: str
    sentence: str
    """`{x}` is the page's own entity, `{y}` the other one."""
    phrase: str
    """`{}` is what is known: a name, or a description."""


RELATIONS = (
    Relation("birthplace", "person", "town", "{x} was born in {y}.", "the birthplace of {}"),
    Relation("teacher", "person", "person", "{x} learnt the trade from {y}.", "the teacher of {}"),
    Relation("employer", "person", "firm", "{x} worked for {y} for many years.", "the employer of {}"),
    Relation("founder", "firm", "person", "{x} was founded by {y}.", "the founder of {}"),
    Relation("seat", "firm", "town", "{x} has its head office in {y}.", "the town with the head office of {}"),
    Relation("mayor", "town", "person", "{x} elected {y} as its first mayor.", "the first mayor of {}"),
    Relation("stream", "town", "river", "{x} lies on the {y}.", "the river that flows past {}"),
    Relation("twin", "town", "town", "{x} is twinned with {y}.", "the twin town of {}"),
    Relation("author", "book", "person", "{x} was written by {y}.", "the author of {}"),
    Relation("printer", "book", "firm", "{x} was first printed by {y}.", "the printer of {}"),
    Relation("mapper", "river", "person", "{x} was first mapped by {y}.", "the first person to map {}"),
    Relation("mouth", "river", "town", "{x} reaches the sea at {y}.", "the town at the mouth of {}"),
)


@dataclass(frozen=True, slots=True)
class Property:
    """What is said of an entity without naming another."""

    name: str
    source: str
    values: Mapping[str, str]
    """As a page puts it, and as a question does."""
    sentence: str
    phrase: str


PROPERTIES = (
    Property("occupation", "person", words.OCCUPATIONS, "{x} earned a living as a {y}.", "{}"),
    Property("hobby", "person", words.HOBBIES, "{x} was known for a collection of {y}.", "collected {}"),
    Property("product", "firm", words.PRODUCTS, "{x} became known for making {y}.", "makes {}"),
    Property("emblem", "firm", words.EMBLEMS, "The trade mark of {x} shows {y}.", "uses {} as its sign"),
    Property("topic", "book", words.TOPICS, "The subject of {x} is {y}.", "is about {}"),
    Property("dedication", "book", words.DEDICATIONS, "{x} is dedicated to {y}.", "is dedicated to {}"),
    Property("landmark", "town", words.LANDMARKS, "The pride of {x} is {y}.", "has {}"),
    Property("festival", "town", words.FESTIVALS, "Every year {x} holds {y}.", "holds {}"),
)
YEARS = {
    "person": ("{x} came into the world in the year {y}.", "was born between {} and {}"),
    "firm": ("{x} opened its doors in the year {y}.", "opened between {} and {}"),
    "book": ("{x} came out in the year {y}.", "came out between {} and {}"),
    "town": ("{x} received its charter in the year {y}.", "received its charter between {} and {}"),
}
RELATIONS_OF = {kind: tuple(each for each in RELATIONS if each.source == kind) for kind in SHARES}
PROPERTIES_OF = {kind: tuple(each for each in PROPERTIES if each.source == kind) for kind in SHARES}


@dataclass(slots=True)
class Entity:
    """What one page is about."""

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    year: int = 0
    properties: dict[str, str] = field(default_factory=dict)
    """Values by the name of the property, as a page puts them."""
    relations: dict[str, str] = field(default_factory=dict)
    """Names of other entities by the name of the relation."""


def make_world(seed: int, pages: int) -> dict[str, Entity]:
    """`pages` entities by name; the same for the same arguments, everywhere."""
    rng = random.Random(f"{seed}-{pages}-deepdive-world")
    surnames = [_syllables(rng, 2).capitalize() for _ in range(max(20, pages // 6))]
    world: dict[str, Entity] = {}
    of_kind: dict[str, list[str]] = {kind: [] for kind in SHARES}
    for kind, share in SHARES.items():
        while len(of_kind[kind]) < max(4, round(share * pages)):
            entity = Entity("", kind, year=rng.randint(1700, 1899))
            for each in PROPERTIES_OF[kind]:
                entity.properties[each.name] = rng.choice(list(each.values))
            entity.name, entity.aliases = _named(rng, entity, surnames)
            if entity.name not in world:
                world[entity.name] = entity
                of_kind[kind].append(entity.name)
    for entity in world.values():
        for relation in RELATIONS_OF[entity.kind]:
            others = of_kind[relation.target]
            entity.relations[relation.name] = _other(rng, others, entity.name)
    _keep_unique_aliases(world)
    return world


def _named(rng: random.Random, entity: Entity, surnames: list[str]) -> tuple[str, tuple[str, ...]]:
    if entity.kind == "person":
        first, last = rng.choice(words.FIRST_NAMES), rng.choice(surnames)
        middle = rng.choice("BCDFGHKLMNPRSTW")
        return f"{first} {middle}. {last}", (f"{first} {last}", f"{first[0]}. {middle}. {last}")
    if entity.kind == "firm":
        start, end = _syllables(rng, 2).capitalize(), rng.choice(words.FIRM_ENDS)
        return f"{start} {end}", (f"{start} {end} Ltd", start)
    if entity.kind == "book":
        title = f"{rng.choice(words.BOOK_STARTS)} {entity.properties['topic']}"
        year = f"{title} ({entity.year})"
        return year, (title,)
    if entity.kind == "river":
        name = _syllables(rng, 2).capitalize()
        return f"River {name}", (name, f"{name} River")
    name = (_syllables(rng, 1) + _syllables(rng, 1)[:3] + rng.choice(words.TOWN_ENDS)).capitalize()
    return name, (f"Town of {name}",)


def _syllables(rng: random.Random, count: int) -> str:
    text = "".join(rng.choice(words.ONSETS) + rng.choice(words.VOWELS) for _ in range(count))
    return text + rng.choice(words.CODAS)


def _other(rng: random.Random, names: list[str], own: str) -> str:
    while (name := rng.choice(names)) == own:
        pass
    return name


def _keep_unique_aliases(world: dict[str, Entity]) -> None:
    """What would name two entities names neither."""
    used = Counter(alias.lower() for each in world.values() for alias in each.aliases)
    used.update(name.lower() for name in world)
    for each in world.values():
        each.aliases = tuple(alias for alias in each.aliases if used[alias.lower()] == 1)
