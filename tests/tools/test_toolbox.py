"""`Toolbox`: who may call what, and what comes of calls by models and by hostile code."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.errors import ConfigError
from rlm.tools import Function, McpServer, Tool, ToolFailure, check_tools, open_toolbox

RESERVED = {"context", "llm_query"}


def search(query: str, limit: int = 3) -> list[str]:
    """Search for it."""
    return [query] * limit


def note(text: str) -> str:
    """Take a note."""
    return text


def secret() -> str:
    """For the root only."""
    return "root"


def area(width: float, height: float = 1) -> float:
    """The area of a rectangle."""
    return width * height


async def fail(how: str = "badly") -> None:
    raise LookupError(how)


TOOLS = [
    search,
    Tool(note, route="both", read_only=True),
    Tool(secret, route="root"),
    fail,
]
FUNCTIONS = {"area": area, "double": Function(search, ship=True), "joined": "os.path:normpath"}


@pytest.fixture
async def box():
    async with open_toolbox(TOOLS, functions=FUNCTIONS, reserved=RESERVED) as opened:
        yield opened


# --- what there is ----------------------------------------------------------------------------


def test_sub_llms_see_their_tools_sorted(box):
    assert [each["function"]["name"] for each in box.definitions] == ["fail", "note", "search"]
    assert box.definitions[2] == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search for it.",
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "required": ["query"],
                "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 3}},
            },
        },
    }
    assert "description" not in box.definitions[0]["function"]


def test_the_repl_sees_its_own(box):
    assert [each["name"] for each in box.repl_functions(False)] == ["area", "joined", "note", "secret"]
    everything = box.repl_functions(True)
    assert [each["name"] for each in everything] == ["area", "fail", "joined", "note", "search", "secret"]
    assert json.loads(json.dumps(everything)) == everything
    assert everything[0]["summary"] == "`area(width: float, height: float = 1) -> float` - The area of a rectangle."


def test_shipped_functions_are_apart(box):
    (double,) = box.shipped
    assert double["name"] == "double"
    assert double["source"].endswith("\ndouble = search\n")
    assert double["summary"] == "`double(query: str, limit: int = 3) -> list[str]` - Search for it."


async def test_the_version_stands_for_what_models_see():
    versions = []
    for tools in ([], [search, note], [note, search], [note], [Tool(note, description="Other.")]):
        async with open_toolbox(tools) as box:
            versions.append(box.version)
    assert versions[0] == ""
    assert versions[1] == versions[2]
    assert len(set(versions)) == 4


async def test_read_only_is_about_the_tools_of_sub_llms():
    async with open_toolbox([Tool(note, read_only=True), Tool(secret, route="root")]) as box:
        assert box.read_only
    async with open_toolbox([Tool(note, read_only=True), search]) as box:
        assert not box.read_only


# --- calls of sub-LLMs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "text", "failed"),
    [
        ("search", '{"query": "ä", "limit": 2}', '["ä","ä"]', False),
        ("note", '{"text": "as it is"}', "as it is", False),
        ("note", '{"text": "\\ud800"}', "?", False),
        ("fail", "", "error: LookupError: badly", True),
        ("fail", "null", "error: the arguments are a JSON object, not NoneType", True),
        ("fail", "[1]", "error: the arguments are a JSON object, not list", True),
        ("note", "{text}", "error: the arguments are not JSON: Expecting property name", True),
        ("note", "{}", "error: bad arguments: text: Field required", True),
        ("secret", "{}", "error: there is no 'secret'; there are: fail, note, search", True),
        ("area", '{"width": 2}', "error: there is no 'area'", True),
        ("double", "{}", "error: there is no 'double'", True),
        ("x" * 10_000, "{}", "error: there is no 'xxx", True),
    ],
)
async def test_a_call_of_a_sub_llm(box, name, arguments, text, failed):
    output = await box.call(name, arguments)
    assert output.text.startswith(text)
    assert output.failed is failed
    assert 0 <= output.seconds < 5
    assert len(output.text) < 500


async def test_a_long_result_is_cut_in_the_middle():
    tool = Tool(lambda: "a" * 5000 + "b" * 5000, name="long", output_limit=1000)
    async with open_toolbox([tool]) as box:
        output = await box.call("long", "")
    assert output.text == "a" * 500 + "\n[… 9,000 characters left out …]\n" + "b" * 500
    assert not output.failed


async def test_an_int_that_python_does_not_write_is_a_failure():
    async with open_toolbox([Tool(lambda: 10**5000, name="big", route="both")]) as box:
        assert (await box.call("big", "")).text.startswith("error: its result is not JSON: ValueError")
        with pytest.raises(ToolFailure, match="not JSON"):
            await box.call_function("big", [], {}, everything=False)


async def test_calls_run_in_parallel():
    def slow(n: int) -> int:
        time.sleep(0.1)
        return n

    async with open_toolbox([slow]) as box:
        began = time.monotonic()
        outputs = await asyncio.gather(*(box.call("slow", f'{{"n": {n}}}') for n in range(8)))
        assert time.monotonic() - began < 0.5
    assert [output.text for output in outputs] == [str(n) for n in range(8)]
    assert all(output.seconds >= 0.1 for output in outputs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HOSTILE = st.one_of(
    st.text(),
    JSON.map(json.dumps),
    st.dictionaries(st.sampled_from(["query", "limit", "text", "how", "", "p0"]), JSON).map(json.dumps),
    st.integers(1, 5000).map(lambda n: '{"query":' + "[" * n),
    st.integers(1, 5000).map(lambda n: '{"text":' + "[" * n + "]" * n + "}"),
    st.integers(1, 5000).map(lambda n: '{"limit":' + "9" * n + "}"),
)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(["search", "note", "fail", "secret", ""]) | st.text(), arguments=HOSTILE)
def test_no_arguments_break_a_call(name, arguments):
    async def go() -> None:
        tools = [Tool(each) if callable(each) else each for each in TOOLS]
        async with open_toolbox([*tools[1:], Tool(lambda query, limit=1: [query, limit], name="search")]) as box:
            output = await box.call(name, arguments)
            output.text.encode()
            with_everything = await reply(box, name, [arguments], {}, everything=True)
            assert isinstance(with_everything, str | list)

    asyncio.run(go())


async def reply(box: Any, *call: Any, everything: bool) -> Any:
    try:
        return await box.call_function(*call, everything=everything)
    except ToolFailure as failure:
        return str(failure)


# --- calls of the REPL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "result"),
    [
        ("area", [2], {"height": 3}, 6),
        ("area", [2, "4"], {}, 8),
        ("joined", ["a/../b"], {}, "b"),
        ("note", ["both"], {}, "both"),
        ("secret", [], {}, "root"),
    ],
)
async def test_a_call_of_the_repl(box, name, args, kwargs, result):
    assert await box.call_function(name, args, kwargs, everything=False) == result


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "says"),
    [
        ("search", ["x"], {}, "there is no 'search'; there are: area, joined, note, secret"),
        ("double", [], {}, "there is no 'double'"),
        ("nothing", [], {}, "there is no 'nothing'"),
        ("_tools", [], {}, "there is no"),
        (None, [], {}, "there is no 'None'"),
        (["area"], [], {}, "there is no"),
        ("area", [1, 2, 3], {}, r"area\(\) takes 2 positional arguments; 3 were given"),
        ("area", [1], {"width": 2}, r"area\(\) got 'width' twice"),
        ("area", [], {"height": 2}, "width: Field required"),
        ("area", [], {"width": 2, "depth": 2}, "depth: Extra"),
        ("area", {"width": 1}, {}, "args is a list"),
        ("area", [], None, "kwargs an object"),
    ],
)
async def test_what_the_repl_may_not(box, name, args, kwargs, says):
    with pytest.raises(ToolFailure, match=says):
        await box.call_function(name, args, kwargs, everything=False)


async def test_at_depth_0_the_repl_reaches_all_tools(box):
    assert await box.call_function("search", ["x"], {"limit": 1}, everything=True) == ["x"]
    with pytest.raises(ToolFailure, match="there are: area, fail, joined, note, search, secret"):
        await box.call_function("double", [], {}, everything=True)


async def test_keyword_only_parameters_are_not_bound_by_position():
    def f(a: int, *, b: int) -> list[int]:
        return [a, b]

    async with open_toolbox(functions={"f": f}) as box:
        with pytest.raises(ToolFailure, match="takes 1 positional"):
            await box.call_function("f", [1, 2], {}, everything=False)
        assert await box.call_function("f", [1], {"b": 2}, everything=False) == [1, 2]


async def test_a_result_too_large_for_the_bridge_is_a_failure():
    async with open_toolbox(functions={"f": lambda n: "ä" * n}) as box:
        assert len(await box.call_function("f", [2_000_000], {}, everything=False)) == 2_000_000
        with pytest.raises(ToolFailure, match="a result of 5,000,002 bytes as JSON; the limit is 4,194,304"):
            await box.call_function("f", [2_500_000], {}, everything=False)


# --- mistakes of the user ---------------------------------------------------------------------


def context() -> None: ...


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tools": [search, Tool(note, name="search")]}, "tool 'search': 'search' is also tool 'search'"),
        ({"tools": [search], "functions": {"search": area}}, "function 'search': 'search' is also tool 'search'"),
        ({"functions": {"llm_query": area}}, "function 'llm_query': 'llm_query' is a name of the REPL itself"),
        ({"tools": [context]}, "tool 'context': 'context' is a name of the REPL"),
        ({"functions": {"context": Function(note, ship=True)}}, "'context' is a name of the REPL"),
        ({"functions": {"not a name": area}}, "no usable name"),
        ({"functions": {5: area}}, "no usable name"),
        ({"functions": [area]}, "a mapping"),
        ({"functions": {"f": 5}}, "no callable"),
        ({"functions": {"f": Tool(area)}}, "belongs in tools"),
        ({"functions": {"f": "no colon"}}, "not of the form"),
        ({"tools": "os.path:join"}, "a list"),
        ({"tools": search}, "a list"),
        ({"tools": {"search": search}}, "a list"),
        ({"tools": [5]}, "no callable"),
        ({"tools": ["nowhere_at_all:f"]}, "ModuleNotFoundError"),
        ({"tools": [Function(area)]}, "belongs in functions"),
        ({"tools": [McpServer("x")]}, "belongs in mcp"),
        ({"mcp": "server --stdio"}, "a list"),
        ({"mcp": [5]}, "no command line"),
        ({"mcp": [""]}, "a command line or a URL"),
        ({"mcp": ["'unclosed"]}, "cannot be read"),
        ({"mcp": ["http://"]}, "without a host"),
        ({"mcp": ["http://host:port/"]}, "cannot be read"),
    ],
)
async def test_mistakes_are_found_when_a_run_is_configured(given, says):
    with pytest.raises(ConfigError, match=says):
        check_tools(**given, reserved=RESERVED)
    with pytest.raises(ConfigError, match=says):
        async with open_toolbox(**given, reserved=RESERVED):
            pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"route": "none"}, "route"),
        ({"timeout": 0}, "timeout"),
        ({"concurrency": 0}, "concurrency"),
        ({"output_limit": 0}, "output_limit"),
        ({"tools": "one"}, "a list of names"),
        ({"headers": {"a": "b"}}, "headers are for a URL"),
    ],
)
def test_a_servers_options_are_checked(options, says):
    with pytest.raises(ConfigError, match=says):
        McpServer("server", **options)


def test_a_url_has_no_environment():
    with pytest.raises(ConfigError, match="not for a URL"):
        McpServer("http://127.0.0.1:1/mcp", env={"A": "b"})


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/usr/bin/uvx mcp-server-git --repo .", "uvx mcp-server-git"),
        ("python -m things --key SECRET", "python things"),
        ("server", "server"),
        ("https://user:SECRET@example.org/mcp?key=SECRET", "example.org"),
        ("http://127.0.0.1:8000/mcp", "127.0.0.1:8000"),
    ],
)
def test_a_servers_name_tells_no_secret(given, name):
    server = McpServer(given, headers={"Authorization": "SECRET"} if "://" in given else None)
    assert server.name == name
    assert "SECRET" not in repr(server)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r"pip install 'rlm-kernel\[mcp\]'"):
        check_tools(mcp=["http://127.0.0.1:1/mcp"])
    check_tools([search])
