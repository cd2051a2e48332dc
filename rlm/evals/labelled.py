"""Labelled items: short texts of a few classes, each by a user, on a date. The class follows from the text alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from rlm.evals.textkit import Draw, words

MONTHS = words("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
YEAR = 2024

_SLOTS: Mapping[str, Sequence[str]] = {
    "thing": ("lamp", "kettle", "backpack", "desk", "blender", "jacket", "tent", "speaker"),
    "place": ("Bergen", "Lisbon", "Osaka", "Quito", "Tunis", "Zagreb"),
    "name": ("Amara", "Boris", "Celia", "Dmitri", "Esther", "Farouk"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What the items are, and the templates of each class; some avoid the words one would expect."""

    things: str
    templates: Mapping[str, Sequence[str]]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.templates)


MESSAGES = Topic(
    things="messages to a web shop",
    templates={
        "billing": (
            "I was charged twice for the {thing}, please check my invoice.",
            "The amount on my invoice is higher than the price shown for the {thing}.",
            "My credit card was debited although I cancelled the payment.",
            "Please send an invoice with the VAT number of our firm for the {thing}.",
            "Half of my monthly statement seems to be you, and I recall a single purchase.",
        ),
        "delivery": (
            "My parcel with the {thing} has not arrived in {place} yet.",
            "The courier left the parcel with a neighbour in {place} whom nobody knows.",
            "The tracking page has said 'in transit' for a week, where is the {thing}?",
            "Can the shipment go to our address in {place} instead?",
            "Nine days of waiting at the window, and still no van in our street in {place}.",
        ),
        "returns": (
            "I want to send the {thing} back and get a refund.",
            "Which label do I use to return the {thing} from {place}?",
            "The {thing} came broken, I ask for an exchange.",
            "How long do refunds take after a returned {thing}?",
            "It looked better in the picture; how do I get rid of the {thing} and see my money again?",
        ),
        "account access": (
            "I forgot my password and the reset mail never comes.",
            "The login page says that my profile is locked, {name} is the username.",
            "Please change the e-mail of my profile to the one of {name}.",
            "Two-factor codes are rejected whenever I sign in from {place}.",
            "Your door stays shut whatever secret I type, and I have typed them all.",
        ),
        "product advice": (
            "Does the {thing} fit a person of two metres?",
            "Is the {thing} waterproof, and which material is it made of?",
            "Which {thing} would you recommend for a beginner?",
            "What are the dimensions and the weight of the {thing}?",
            "Would my grandmother {name} cope with this {thing}, or is a simpler model wiser?",
        ),
        "praise": (
            "Thank you, the {thing} is wonderful!",
            "Great service by {name}, I am delighted.",
            "Best {thing} I ever owned, five stars.",
            "Kudos to {name} of your team in {place}, excellent work.",
            "Normally I never write to shops, but {name} made my whole family smile.",
        ),
    },
)

QUESTIONS = Topic(
    things="questions to a quiz",
    templates={
        "human being": (
            "Who painted the old bridge of {place}?",
            "Which inventor built the first {thing}?",
            "Whose biography did {name} publish?",
            "What actress played {name} on stage?",
            "Name the captain under whom {name} crossed the ocean.",
        ),
        "location": (
            "Where does the river of {place} begin?",
            "What country borders the region around {place}?",
            "In which continent do they grow cotton for a {thing}?",
            "Near what mountain lies {place}?",
            "From the summit {name} saw two seas; on what island was that?",
        ),
        "numeric value": (
            "How many bones has a whale?",
            "How tall is the tower of {place}?",
            "What percentage of people in {place} own a {thing}?",
            "What temperature melts a {thing}?",
            "At what age did {name} retire?",
        ),
        "abbreviation": (
            "What does the acronym on the {thing} stand for?",
            "What is the full form of these initials of {name}?",
            "Spell out the letters IPA.",
            "How is kilowatt-hour shortened in writing?",
            "Three capitals are stamped below every {thing}: expand them.",
        ),
        "entity": (
            "What breed of dog did {name} keep?",
            "Which instrument has forty-seven strings?",
            "What colour is the flag of {place}?",
            "What language do sailors of {place} speak?",
            "Which card game ruined {name}?",
        ),
        "description": (
            "Why does a {thing} make noise?",
            "Explain the difference between fog and mist.",
            "What is the meaning of the proverb {name} quoted?",
            "How do bees find their way to {place}?",
            "For what reason would anybody varnish a {thing}?",
        ),
    },
)

TOPICS = (MESSAGES, QUESTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line."""

    day: date
    user: int
    text: str
    label: str


def draw_items(draw: Draw, topic: Topic, *, count: int, users: int) -> list[Item]:
    """Some classes are several times as common as others; no order."""
    weights = [draw.between(2, 8) for _ in topic.classes]
    ids = draw.distinct(lambda: draw.between(10_000, 99_999), users)
    return [_item(draw, topic, weights, ids) for _ in range(count)]


def _item(draw: Draw, topic: Topic, weights: Sequence[float], ids: Sequence[int]) -> Item:
    label = draw.weighted(topic.classes, weights)
    text = draw.pick(topic.templates[label]).format(**{slot: draw.pick(fillers) for slot, fillers in _SLOTS.items()})
    return Item(day=date(YEAR, 1, 1) + timedelta(days=draw.below(366)), user=draw.pick(ids), text=text, label=label)


def spelled(day: date) -> str:
    """`Jan 05, 2024`, whatever the locale is."""
    return f"{MONTHS[day.month - 1]} {day.day:02}, {day.year}"


def rendered(topic: Topic, items: Sequence[Item], *, labels: bool) -> str:
    """The input: what the items are, then one line for each, with its class at its end if `labels`."""
    about = "Each line ends with its class." if labels else "The class is not given, it follows from the text."
    head = (
        f"The lines below are {len(items)} {topic.things}, one a line, in no order.\n"
        f"Each belongs to one of these classes: {', '.join(topic.classes)}.\n{about}\n"
    )
    return "\n".join([head, *(_line(item, labels) for item in items)]) + "\n"


def _line(item: Item, labels: bool) -> str:
    line = f"Date: {spelled(item.day)} || User: {item.user} || Instance: {item.text}"
    return f"{line} || Label: {item.label}" if labels else line
