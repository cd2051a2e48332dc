"""What the wiki is made of: syllables of names, and properties as a page puts them and as a question does."""

from __future__ import annotations


def _words(text: str, between: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(between))


FIRST_NAMES = _words(
    "Ada Albin Berta Bruno Carla Casimir Delia Dorian Edda Emil Fenja Florin Greta Gustav Hilde Hugo Ida Ivo Jana "
    "Jonas Katja Kilian Lena Linus Mara Milo Nadia Nils Olga Oskar Paula Pavel Rosa Ruben Selma Simon Thea Tomas Ulla "
    "Viktor Wanda Yara Zeno"
)
ONSETS = _words("b br d dr f fl g gr h j k kl l m n p pr r s st t tr v w z")
VOWELS = _words("a e i o u ai ei au oa")
CODAS = _words("l lm ln m n nd ng r rd rk rn s sk st t x")
TOWN_ENDS = _words("burg by dale ford ham haven holm mouth stead ton wick worth")
FIRM_ENDS = _words("& Daughters|& Sons|Brothers|Company|Manufactory|Works|Workshops", "|")
BOOK_STARTS = _words(
    "A Short History of|Conversations on|Letters Concerning|Notes Towards|On the Nature of|The Book of|"
    "The Decline of|The Keeper of|Twelve Essays on|What Remains of",
    "|",
)

OCCUPATIONS = {
    "lens grinder": "shaped glass so that others could see further",
    "beekeeper": "looked after insects that make something sweet",
    "cartographer": "drew the shape of the land for a living",
    "bell founder": "cast what hangs in church towers",
    "organ builder": "made the largest instrument of a church",
    "glover": "sewed clothing for hands",
    "cooper": "made barrels",
    "bookbinder": "gave loose sheets their covers",
    "surveyor": "measured plots of land",
    "apothecary": "mixed and sold remedies",
    "falconer": "trained birds of prey",
    "thatcher": "covered roofs with straw or reed",
    "clockmaker": "built what shows the hours",
    "dyer": "gave cloth its colour",
    "shipwright": "built vessels",
    "engraver": "cut pictures into metal plates",
    "lamplighter": "made the streets bright at dusk",
    "wheelwright": "made what carts roll on",
}
HOBBIES = {
    "sundials": "devices that need the sun to tell the time",
    "sea shells": "empty houses of molluscs",
    "chess problems": "puzzles on sixty-four squares",
    "meteorites": "stones that fell from the sky",
    "old keys": "things that open doors",
    "fans": "what one moves before the face on hot days",
    "ferns": "plants that have fronds and no flowers",
    "folk songs": "tunes that nobody is known to have composed",
    "puppets": "figures that are moved with strings",
    "tea caddies": "boxes for dried leaves",
    "barometers": "instruments that foretell the weather",
    "playing cards": "what comes in packs with four suits",
    "seals": "stamps pressed into wax",
    "thimbles": "what protects a finger from a needle",
    "walking sticks": "supports for a stroll",
    "feathers": "what birds lose when they moult",
}
PRODUCTS = {
    "window panes": "what lets light into a room",
    "anchors": "what keeps a ship in its place",
    "pencils": "what one writes with and can rub out",
    "umbrellas": "what keeps the rain off",
    "saddles": "seats for riders",
    "candles": "light made of wax",
    "spectacles": "what helps weak eyes",
    "rope": "twisted cordage",
    "pianos": "instruments with eighty-eight keys",
    "soap": "what one washes with",
    "ploughs": "what turns the soil of a field",
    "wallpaper": "what is pasted on the insides of rooms",
    "scales": "what tells a weight",
    "buttons": "what closes a coat",
    "fireworks": "what lights up the sky on feast days",
    "bricks": "what walls are built of",
}
EMBLEMS = {
    "a heron": "a wading bird",
    "an otter": "a swimmer with fur",
    "a thistle": "a prickly plant",
    "a plumb line": "a weight on a string",
    "an hourglass": "running sand",
    "a snail": "a slow animal that carries its house",
    "a key": "the companion of a lock",
    "a comet": "a star with a tail",
    "an acorn": "the fruit of an oak",
    "a lantern": "a lamp that can be carried",
    "a squirrel": "an animal that hoards nuts",
    "a pretzel": "a knot of dough",
    "a swan": "a large white bird",
    "a ladder": "rungs between two rails",
}
TOPICS = {
    "Tides": "the rise and fall of the sea",
    "Migration of Birds": "why some animals fly south",
    "Echoes": "sounds that come back",
    "Handwriting": "the shapes of letters on paper",
    "Salt": "what preserves meat and seasons soup",
    "Mirrors": "surfaces that show who looks at them",
    "Avalanches": "snow that slides down a slope",
    "Weaving": "how threads become cloth",
    "Lighthouses": "towers that warn ships",
    "Mushrooms": "what grows in the forest after rain",
    "Counterpoint": "several melodies at once",
    "Bridges": "ways across water",
    "Shadows": "where light does not reach",
    "Frost": "ice on windows",
    "Gardens": "plots where flowers are grown",
    "Proverbs": "sayings that everybody knows",
}
DEDICATIONS = {
    "a blind neighbour": "somebody next door who could not see",
    "the postmen of the valley": "those who bring letters",
    "a lost dog": "a missing animal",
    "an unknown sailor": "a man of the sea without a name",
    "the author's godmother": "a sponsor at a baptism",
    "a night nurse": "somebody who cared for the sick after dark",
    "the choir of the village": "a group of singers",
    "a retired judge": "somebody who no longer passes sentences",
    "three sisters": "a trio of siblings",
    "a travelling dentist": "somebody who pulled teeth on the road",
    "the readers of tomorrow": "people not yet born",
    "a patient creditor": "somebody who waited for money",
}
LANDMARKS = {
    "a leaning water tower": "a tilted building that holds a reservoir",
    "a covered wooden bridge": "a crossing with a roof",
    "a salt museum": "a collection about a seasoning",
    "an astronomical clock": "a timepiece that shows the planets",
    "a maze of hedges": "a garden to get lost in",
    "a windmill with six sails": "a mill moved by air",
    "a floating market": "stalls on boats",
    "a school for deaf children": "a place where those who cannot hear learn",
    "a spiral staircase outdoors": "steps that wind up under the open sky",
    "a library in a barn": "books where hay was kept",
    "an abandoned funicular": "a cable railway that runs no more",
    "a theatre of shells": "a stage decorated with what the sea left",
    "a double lighthouse": "a pair of beacons",
    "a cheese exchange": "a hall where a dairy product is traded",
}
FESTIVALS = {
    "the Feast of Lanterns": "a celebration with many small lights",
    "the Race of the Barrels": "a contest of rolling casks",
    "the Night of the Bells": "a night on which towers ring",
    "the Onion Fair": "a market for a vegetable that makes one cry",
    "the Burning of the Boats": "a fire made of vessels",
    "the Week of Silence": "seven days without speech",
    "the Kite Days": "days when paper flies on strings",
    "the Dance of the Chimney Sweeps": "a ball of those who clean flues",
    "the Goose Parade": "a procession of farm birds",
    "the Blessing of the Ploughs": "a ceremony for farm tools",
    "the Snow Opera": "singing on stage in winter",
    "the Chestnut Supper": "a meal of roasted nuts",
}

FILLER = (
    "The weather of that season was {a}, and the records of the parish say little else",
    "Visitors of the time found the roads {a} and the inns {b}",
    "A {a} chapter in the almanac is given to prices, which were {b} throughout",
    "Opinions differ on whether the change was {a} or merely {b}",
    "The minutes of the meeting are {a}; a {b} copy is kept with the tax rolls",
    "Later writers called the affair {a}, though none of them had seen the {b} papers",
    "In the end the matter was settled in a {a} manner and forgotten",
    "What is left of the inventory is {a}, with {b} gaps",
    "The harvest was {a} and the winter {b}, as so often",
    "A {a} drawing shows the yard, the well and a {b} gate",
    "The committee found the plan {a} and asked for a {b} one",
    "Neighbours remembered a {a} house with a {b} porch",
    "The correspondence is {a}, and most of it concerns {b} repairs",
    "For some years afterwards the accounts were {a}",
)
ADJECTIVES = _words(
    "ample bleak brief careful changeable curious dense detailed dry dull earnest even faded fair firm formal frugal "
    "gentle grave hasty honest humble idle keen lean lengthy lively mild modest muted narrow neat odd orderly patchy "
    "plain polite proper quaint quiet rough scant sober solid sparse spirited steep stern stout sturdy tidy uneven "
    "unremarkable vague wary worn"
)
SECTIONS = ("Background", "Early years", "Records", "Circumstances", "Later years", "Sources", "Reception", "Remains")
