"""What the scripted models say. The root and its children write code; the sub-LLMs look things up with the tools.

A real model would do without all of this: `python -m examples.deep_research --model … --base-url …`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rlm.testing import ScriptedRequest, Turns

LOOK = """I look at the input first.
```repl
print(context)
ships = context.split()
```"""

DELEGATE = """One child for each ship: each has to read several pages, and I need two facts of each.
```repl
reports = rlm_batch(
    "How far north did the ship in `context` get, and under which master?",
    ships,
    returns={"degrees": float, "master": str},
)
for ship, report in zip(ships, reports):
    print(ship, report)
```"""

CONCLUDE = """```repl
best = max(zip(ships, reports), key=lambda pair: pair[1]["degrees"])
minutes = round(best[1]["degrees"] % 1 * 60)
answer["content"] = (
    f"The {best[0]}, under {best[1]['master']}: {int(best[1]['degrees'])} degrees {minutes} minutes north."
)
answer["ready"] = True
```"""

CHILD = """Two questions, which do not depend on each other, to sub-LLMs with tools.
```repl
ship = context
north, master = llm_batch([
    f"Farthest north of the {ship}: in degrees and minutes, as its own page or log says",
    f"Who was master of the {ship} when she got farthest north? The name only.",
])
degrees, minutes = map(int, north.split()[:2])
answer["content"] = {"degrees": degrees + minutes / 60, "master": master}
answer["ready"] = True
```"""


ROOT = Turns([LOOK, DELEGATE, CONCLUDE])


def below(request: ScriptedRequest) -> Any:
    """One model plays the children, which stream, and the sub-LLMs."""
    return CHILD if request.stream else _with_tools(request)


def _with_tools(request: ScriptedRequest) -> Any:
    question = str(request.messages[1]["content"])
    ship = re.findall(r"of the (\w+)", question)[0]
    pages = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
    if not pages:
        return _call("search", query=f"voyages of the {ship}")
    if len(pages) == 1:
        titles = [hit["title"] for hit in json.loads(pages[0])]
        return _call("open_page", title=next(title for title in titles if title == f"Voyages of the {ship}"))
    found = re.search(r"(\d+) degrees (\d+) minutes", pages[1])
    named = re.search(r"under (\w+ \w+)|Under (\w+ \w+)", pages[1])
    if question.startswith("Farthest"):
        return f"{found[1]} {found[2]}" if found else "not found"
    return (named[1] or named[2]) if named else "not found"


def _call(name: str, **arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}
