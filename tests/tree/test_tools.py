"""Environment tools: for the sub-LLMs, and for nobody else unless the user says so."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, ConfigError, Function, McpServer, Settings, Tool
from rlm.testing import Fault
from tests import needs
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]

SECRET = "the-tool-said-this"


def search(query: str, limit: int = 3) -> list[str]:
    """Search the archive.

    Args:
        query: what to look for
    """
    return [f"{SECRET} {query} {n}" for n in range(limit)]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def sub_with_tools(*calls: dict[str, Any], answer: Any = None):
    """Calls tools in its first turn, then says what they said."""

    def sub(request: Any) -> Any:
        said = [m["content"] for m in request.messages if m["role"] == "tool"]
        if not said:
            return {"text": "let me look", "tool_calls": list(calls)}
        return answer(said) if answer else " & ".join(said)

    return sub


ASK = cell("answer['content'] = llm_query('find it')\n" + FINISH)


async def test_sub_llms_call_tools_and_the_root_sees_neither_them_nor_their_output(stage: Stage, sandbox: str) -> None:
    root = [cell("r = llm_query('find it')\nprint(len(r))"), cell("answer['content'] = 'done'\n" + FINISH)]
    sub = sub_with_tools(call("search", query="bees", limit=1))
    result = await stage.run({"root": root, "sub": sub}, sandbox=sandbox, tools=[search])
    assert result.answer == "done"
    assert stage.server is not None
    first, second = (request for request in stage.server.requests if request.model == "sub")
    (definition,) = first.body["tools"]
    assert definition["function"]["name"] == "search"
    assert definition["function"]["parameters"]["required"] == ["query"]
    assert definition["function"]["parameters"]["properties"]["query"]["description"] == "what to look for"
    assert second.messages[-1]["content"] == f'["{SECRET} bees 0"]'
    assert second.messages[-2]["tool_calls"][0]["id"] == second.messages[-1]["tool_call_id"]
    assert "You have 8 turns" in first.messages[0]["content"]
    for request in stage.server.requests:
        if request.model == "root":
            assert "tools" not in request.body
            assert "search" not in json.dumps(request.body)
            assert SECRET not in json.dumps(request.body)
    (done,) = stage.of("tool.completed")
    assert (done["name"], done["failed"], done["rollout"]) == ("search", False, "0")
    (asked,) = stage.of("call.completed")
    assert (asked["turns"], asked["tool_calls"], asked["attempts"]) == (2, 1, 2)
    assert asked["input_tokens"] == result.usage.sub.input_tokens


HOSTILE = """
from guest.bridge import BridgeClosed
bridge = get_ipython().kernel.guest.bridge
seen = []
for op, fields in (("function", {"name": "search", "args": ["x"], "kwargs": {}}), ("tool", {"name": "search"})):
    try: seen.append(str(bridge.request(op, **fields)))
    except BridgeClosed as e: seen.append("closed")
"""


async def test_root_code_cannot_reach_the_tools_of_sub_llms(stage: Stage, sandbox: str) -> None:
    called = []

    def search(query: str) -> str:
        called.append(query)
        return SECRET

    root = cell(
        HOSTILE + "answer['content'] = f'{seen} {\"search\" in globals()}'\nimport os\nos.write(1, b'x')\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox, tools=[search])
    assert called == []
    assert SECRET not in json.dumps(stage.events)
    assert "unknown op 'function'" in stage.of("protocol.error")[0]["detail"]
    assert result.stop_reason == "answered"


async def test_with_functions_the_tools_of_sub_llms_are_still_out_of_reach(stage: Stage, sandbox: str) -> None:
    called = []

    def search(query: str) -> str:
        called.append(query)
        return SECRET

    root = cell(
        "bridge = get_ipython().kernel.guest.bridge\n"
        "r = bridge.request('function', name='search', args=['x'], kwargs={})\n"
        "answer['content'] = f'{r.get(\"failed\")} {area(2, height=3)}'\n" + FINISH
    )
    options: dict[str, Any] = {"tools": [search], "functions": {"area": area}}
    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox, **options)
    assert result.answer == "there is no 'search'; there are: area 6.0"
    assert called == []


async def test_a_call_may_do_without_the_tools(stage: Stage) -> None:
    root = cell("answer['content'] = llm_query('p', tools=False)\n" + FINISH)
    result = await stage.run({"root": root, "sub": "plain"}, tools=[search])
    assert result.answer == "plain"
    assert stage.server is not None
    assert "tools" not in stage.server.requests[1].body
    assert "turns" not in stage.server.requests[1].messages[0]["content"]


# --- the loop -------------------------------------------------------------------------------------


async def test_parallel_calls_of_tools_run_in_parallel_and_items_are_independent(stage: Stage) -> None:
    at_once: list[int] = []
    running = 0

    async def slow(n: int) -> int:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.3)
        running -= 1
        return n * n

    calls = [call("slow", n=n) for n in range(4)]
    root = cell("answer['content'] = str(llm_batch(['a', 'b']))\n" + FINISH)
    began = time.monotonic()
    result = await stage.run({"root": root, "sub": sub_with_tools(*calls)}, tools=[Tool(slow, concurrency=8)])
    assert result.answer == str(["0 & 1 & 4 & 9"] * 2)
    assert max(at_once) == 8
    assert time.monotonic() - began < 8


async def test_a_sub_llm_that_never_ends_is_asked_for_its_answer_without_tools(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        if "tools" not in request.body:
            assert "last turn" in request.prompt
            return "what I have"
        return {"tool_calls": [call("search", query=str(request.index))]}

    result = await stage.run({"root": ASK, "sub": sub}, tools=[search], sub_max_turns=3)
    assert result.answer == "what I have"
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == 3
    assert len(stage.of("tool.completed")) == 2


async def test_an_endpoint_that_wants_the_tools_to_be_there_gets_them_but_none_to_call(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        if "tools" not in request.body:
            return Fault.http(400, "messages with tool_calls need the parameter tools")
        if request.body.get("tool_choice") == "none":
            return "at last"
        return {"tool_calls": [call("search", query="x")]}

    result = await stage.run({"root": ASK, "sub": sub}, tools=[search], sub_max_turns=2)
    assert result.answer == "at last"


async def test_what_tools_do_wrong_is_told_to_the_sub_llm_and_harms_no_run(stage: Stage) -> None:
    def broken(n: int) -> str:
        raise RuntimeError("out of order")

    def hangs() -> None:
        threading.Event().wait(30)

    def floods() -> str:
        return "x" * 1_000_000

    calls = [
        call("broken", n=1),
        call("broken", n="many"),
        {"name": "broken", "arguments": "{not json"},
        {"name": "broken", "arguments": "[1]"},
        call("nothing"),
        call("hangs"),
        call("floods"),
    ]
    tools = [broken, Tool(hangs, timeout=0.5), Tool(floods, output_limit=1000)]
    result = await stage.run({"root": ASK, "sub": sub_with_tools(*calls, answer=json.dumps)}, tools=tools)
    said = json.loads(result.answer)
    assert "RuntimeError: out of order" in said[0]
    assert "integer" in said[1]
    assert "not JSON" in said[2]
    assert "JSON object" in said[3]
    assert "there is no 'nothing'" in said[4]
    assert "0.5 s" in said[5]
    assert len(said[6]) < 1200
    assert [event["failed"] for event in stage.of("tool.completed")].count(True) == 6
    assert stage.server is not None
    (second,) = (r for r in stage.server.requests if len(r.messages) > 3)
    for asked in second.messages[2]["tool_calls"]:
        assert isinstance(json.loads(asked["function"]["arguments"]), dict)


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "search", "arguments": {"query": "bees", "limit": 1}}',
        '```json\n{"name": "search", "arguments": {"query": "bees", "limit": 1}}\n```',
        'I look.\n<tool_call>\n{"name": "search", "arguments": {"query": "bees", "limit": 1}}\n</tool_call>',
    ],
)
async def test_calls_that_are_written_as_text_are_calls(stage: Stage, written: str) -> None:
    def sub(request: Any) -> Any:
        return request.prompt if request.messages[-1]["role"] == "tool" else written

    result = await stage.run({"root": ASK, "sub": sub}, tools=[search])
    assert result.answer == f'["{SECRET} bees 0"]'


@pytest.mark.parametrize("text", ['{"name": "other", "arguments": {}}', '{"name": "search"}', '["search"]', "[[["])
async def test_other_json_is_an_answer(stage: Stage, text: str) -> None:
    result = await stage.run({"root": ASK, "sub": text}, tools=[search])
    assert result.answer == text
    assert stage.of("tool.completed") == []


async def test_tools_and_a_schema_go_together(stage: Stage) -> None:
    root = cell("answer['content'] = repr(llm_query('count', schema=int))\n" + FINISH)

    def sub(request: Any) -> Any:
        if not any(m["role"] == "tool" for m in request.messages):
            assert "response_format" not in request.body
            return {"tool_calls": [call("search", query="x")]}
        if "Reply again" in request.prompt:
            assert "tools" not in request.body
            return "3"
        return "three"

    result = await stage.run({"root": root, "sub": sub}, tools=[search])
    assert result.answer == "3"


async def test_tool_loops_stay_within_the_budget(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        return {"tool_calls": [call("search", query="x" * 400, limit=20)]}

    root = cell(
        "r = llm_batch([f'{i}' for i in range(5)])\nanswer['content'] = str({x.kind for x in r if not x})\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": sub}, tools=[search], max_tokens=30_000, sub_max_tokens=500)
    assert sum(u.input_tokens + u.output_tokens for u in (result.usage.root, result.usage.sub)) <= 30_000
    assert "budget" in result.answer


async def test_an_interrupt_stops_the_tools_too(stage: Stage) -> None:
    cancelled = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    root = [
        cell(
            "import signal\nsignal.alarm(1)\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\nllm_query('p')"
        ),
        cell("answer['content'] = 'after'\n" + FINISH),
    ]
    result = await stage.run({"root": root, "sub": sub_with_tools(call("slow"))}, tools=[slow])
    assert result.answer == "after"
    assert cancelled.is_set()


async def test_the_memo_knows_the_tools(stage: Stage, tmp_path: Path) -> None:
    """The same prompt with other tools is another question."""
    sub = sub_with_tools(call("search", query="x"))
    cache: dict[str, Any] = {"cache": tmp_path / "cache"}
    await stage.run({"root": ASK, "sub": sub}, tools=[search], **cache)
    assert stage.server is not None
    port = int(stage.server.base_url.rsplit(":", 1)[1].split("/")[0])
    again = await stage.run({"root": ASK, "sub": sub}, tools=[search], server_port=port, **cache)
    assert again.usage.sub.calls == 0
    other = await stage.run({"root": ASK, "sub": sub}, tools=[search, area], server_port=port, **cache)
    assert other.usage.sub.calls == 2


# --- other routes ---------------------------------------------------------------------------------


def area(width: float, height: float = 1.0) -> float:
    """The area of a rectangle."""
    return width * height


def shout(text: str) -> str:
    """In capitals."""
    return str(json.loads(json.dumps(text))).upper()


async def test_functions_of_the_host_are_called_from_the_repl(stage: Stage, sandbox: str) -> None:
    async def later(n: int) -> dict[str, int]:
        await asyncio.sleep(1.5)
        return {"n": n}

    root = cell(
        "import inspect\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "print(inspect.signature(area), area.__doc__)\nhelp(area)\n"
        "try: area('wide')\nexcept FunctionFailed as e: print(e)\n"
        "try: area()\nexcept TypeError as e: print(e)\n"
        "with ThreadPoolExecutor(30) as pool: r = list(pool.map(area, range(30)))\n"
        "answer['content'] = f'{area(2, height=3)} {shout(\"abc\")} {sum(r)} {later(3)}'\n" + FINISH
    )
    functions = {"area": area, "shout": Function(shout, ship=True), "later": later}
    result = await stage.run({"root": root}, sandbox=sandbox, functions=functions, cell_timeout=1)
    assert result.answer == "6.0 ABC 435.0 {'n': 3}", "waiting for the host costs no time of the cell"
    output = stage.of("cell.completed")[0]["output"]
    assert "(width: float, height: float = 1.0) -> float The area of a rectangle." in output
    assert "Help on function area" in output
    assert "width: " in output
    assert "missing a required argument" in output
    assert stage.server is not None
    system = stage.server.requests[0].messages[0]["content"]
    assert "- `area(width: float, height: float = 1.0) -> float` - The area of a rectangle." in system
    assert "- `shout(text: str) -> str` - In capitals." in system
    assert len(stage.of("function.completed")) == 33


def draft(text: str) -> str:
    """Keeps a draft."""
    answer["content"] = llm_query(text)  # type: ignore[name-defined]  # noqa: F821
    return str(len(context))  # type: ignore[name-defined]  # noqa: F821


async def test_shipped_functions_use_what_the_repl_has_and_are_put_back(stage: Stage) -> None:
    root = [cell("print(draft('p'))\ndel draft"), cell("print(draft('q'))\nanswer['ready'] = True")]
    functions = {"draft": Function(draft, ship=True)}
    result = await stage.run({"root": root, "sub": ["one", "two"]}, context="12345", functions=functions)
    assert result.answer == "two"
    assert [event["output"] for event in stage.of("cell.completed")] == ["5\n", "5\n"]
    assert "`draft` was deleted" in stage.of("cell.completed")[0]["notices"][0]


async def test_a_tool_may_be_routed_to_the_root_or_to_both(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        return ",".join(sorted(tool["function"]["name"] for tool in request.body["tools"]))

    root = cell(
        "answer['content'] = f'{look(1)} {both(2)} {llm_query(1 * \"p\")} {\"search\" in globals()}'\n" + FINISH
    )

    def look(n: int) -> str:
        return f"look {n}"

    def both(n: int) -> str:
        return f"both {n}"

    tools = [search, Tool(look, route="root"), Tool(both, route="both")]
    result = await stage.run({"root": root, "sub": sub}, tools=tools)
    assert result.answer == "look 1 both 2 both,search False"


async def test_at_depth_zero_all_tools_are_functions_of_the_repl(stage: Stage, sandbox: str) -> None:
    root = cell("answer['content'] = search('bees', limit=1)[0]\n" + FINISH)
    result = await stage.run({"root": root}, sandbox=sandbox, tools=[search], depth=0)
    assert result.answer == f"{SECRET} bees 0"
    assert stage.server is not None
    assert "`search(query: str, limit: int = 3)" in stage.server.requests[0].messages[0]["content"]


async def test_children_have_the_functions_and_their_sub_llms_the_tools(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        if request.stream:
            return cell("answer['content'] = f'{area(2.0)} {llm_query(\"find\")}'\n" + FINISH)
        return sub_with_tools(call("search", query="x", limit=1))(request)

    root = cell("answer['content'] = rlm_query('q')\n" + FINISH)
    options: dict[str, Any] = {"tools": [search], "functions": {"area": area}}
    result = await stage.run({"root": root, "sub": sub}, depth=2, **options)
    assert result.answer == f'2.0 ["{SECRET} x 0"]'


# --- MCP and the command line ---------------------------------------------------------------------

SERVER = """
from mcp.server import MCPServer
server = MCPServer("books")

@server.tool()
def find_book(title: str) -> str:
    "Find a book."
    return f"{title} is on shelf 7"

server.run("stdio")
"""


async def test_tools_of_an_mcp_server(stage: Stage, tmp_path: Path) -> None:
    needs.module("mcp")
    (tmp_path / "server.py").write_text(SERVER)
    command = f"{sys.executable} {tmp_path / 'server.py'}"
    sub = sub_with_tools(call("find_book", title="Emma"))
    for server in (command, McpServer(command, name="books")):
        result = await stage.run({"root": ASK, "sub": sub}, mcp=[server])
        assert result.answer == "Emma is on shelf 7"


async def test_a_server_that_cannot_be_started_is_a_mistake_of_the_user_and_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(model="m", base_url="http://127.0.0.1:1", sandbox="process", trace_dir=tmp_path)
    with pytest.raises(ConfigError, match="there is no command 'no-such-command'"):
        await RLM(settings=settings.model_copy(update={"mcp": ("no-such-command x",)})).arun("?")
    with pytest.raises(ConfigError, match="mcp server 'false'"):
        await RLM(settings=settings.model_copy(update={"mcp": ("false",)})).arun("?")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": [3]}, "no callable"),
        ({"tools": ["no_such_module:f"]}, "no_such_module"),
        ({"tools": [search, search]}, "also"),
        ({"functions": {"llm_query": search}}, "a name of the REPL itself"),
        ({"functions": {"f": Function(lambda: 1, ship=True)}}, "lambda"),
        ({"tools": [lambda *a: 1]}, "tool"),
    ],
)
def test_mistakes_are_found_before_anything_is_started(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RLM(settings=Settings(model="m", **options)).run("?")


async def test_the_names_of_the_repl_are_reserved(stage: Stage) -> None:
    from rlm.briefing import REPL_NAMES

    root = cell(
        "names = set(get_ipython().kernel.guest.namespace._tools) | {'answer'}\n"
        "answer['content'] = ' '.join(sorted(names))\n" + FINISH
    )
    result = await stage.run({"root": root}, functions={"area": area})
    # There are originals only where there are documents.
    assert set(result.answer.split()) == REPL_NAMES - {"originals"} | {"area"}
