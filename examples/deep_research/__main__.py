"""Which ship of the fleet got farthest north, and under whom? The answer is spread over a library of pages.

    python -m examples.deep_research                     scripted models: no key, no network
    python -m examples.deep_research --model gpt-5 --sub-model gpt-5-mini    (OPENAI_API_KEY, or --base-url)

The root model sees the names of the ships. It gives each to a child, an RLM of its own with a kernel of its
own; a child asks sub-LLMs, and only those can search and open pages. What a child returns is data.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from examples.deep_research import script
from examples.deep_research.library import PAGES, TOOLS
from rlm import RLM
from rlm.testing import ScriptedModelServer

QUESTION = "Which ship of the Meridian Company got farthest north, how far, and under which master?"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a real root model; without it the models are scripted")
    parser.add_argument("--sub-model")
    parser.add_argument("--base-url")
    parser.add_argument("--sandbox", default="auto")
    options = vars(parser.parse_args())
    with ExitStack() as stack:
        if options["model"] is None:
            server = stack.enter_context(ScriptedModelServer({"root": script.ROOT, "sub": script.below}))
            options |= {"model": "root", "sub_model": "sub", "base_url": server.base_url}
        rlm = RLM(depth=2, tools=TOOLS, **{name: value for name, value in options.items() if value is not None})
        used: Counter[str] = Counter()
        async for event in rlm.stream(QUESTION, inputs=[Path(__file__).with_name("fleet.txt")]):
            match event["type"]:
                case "child.completed":
                    print(f"  child {event['rollout']}: {event['answer']}")
                case "tool.completed":
                    used[event["name"]] += 1
                case "run.completed":
                    result = event["result"]
    usage = result["usage"]
    print(f"{QUESTION}\n\n{result['answer'] or result['error']}\n")
    print(f"{len(PAGES)} pages in the library; tools were called {used.total()} times: {dict(used)}")
    print(f"root: {usage['root']['input_tokens']:,} tokens in; below it: {usage['sub']['input_tokens']:,}")


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
