"""Tools of MCP servers: real ones, over stdio and over HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm.errors import ConfigError
from rlm.tools import McpServer, Tool, ToolFailure, check_tools, open_toolbox

pytestmark = pytest.mark.mcp

HERE = Path(__file__).parent
THINGS = shlex.join([sys.executable, str(HERE / "things.py"), "stdio"])
NAMES = ["broken", "data", "die", "get_weather", "hold", "parts", "pid", "variable"]


def plain(*tools: str) -> str:
    return shlex.join([sys.executable, str(HERE / "plain.py"), *tools])


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextlib.contextmanager
def http_server(token: str = "", port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(HERE / "things.py"), str(port), token])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def things_url():
    with http_server() as (url, _):
        yield url


@pytest.fixture(params=["stdio", "http"])
def things(request):
    return THINGS if request.param == "stdio" else request.getfixturevalue("things_url")


# --- what a server offers ---------------------------------------------------------------------


async def test_its_tools_are_tools_like_any(things):
    async with open_toolbox([Tool(len, name="length", route="root")], [things]) as box:
        assert [each["function"]["name"] for each in box.definitions] == NAMES
        weather = box.definitions[3]["function"]
        assert weather["description"] == "The weather of some days.\n\nInvented."
        assert weather["parameters"]["required"] == ["city"]
        assert weather["parameters"]["properties"]["days"]["default"] == 1
        assert not box.read_only
        assert [each["name"] for each in box.repl_functions(False)] == ["length"]
        signature = next(each for each in box.repl_functions(True) if each["name"] == "get_weather")
        assert signature["summary"] == "`get_weather(city: str, days: int = 1)` - The weather of some days."
        assert (await box.call("get_weather", '{"city": "Rome"}')).text == "sunny in Rome, 1"
        assert await box.call_function("get_weather", ["Rome", 3], {}, everything=True) == "sunny in Rome, 3"
        with pytest.raises(ToolFailure, match="there is no 'get_weather'"):
            await box.call_function("get_weather", ["Rome"], {}, everything=False)


async def test_of_a_server_only_some_tools_and_another_route(things):
    server = McpServer(things, tools=["get-weather"], route="both", output_limit=100)
    async with open_toolbox(mcp=[server]) as box:
        assert [each["function"]["name"] for each in box.definitions] == ["get_weather"]
        assert box.read_only
        assert await box.call_function("get_weather", [], {"city": "Rome"}, everything=False) == "sunny in Rome, 1"
        output = await box.call("get_weather", json.dumps({"city": "R" * 500}))
        assert "characters left out" in output.text
        assert len(output.text) < 150


async def test_an_older_server_with_odd_names():
    async with open_toolbox(mcp=[plain("get weather!", "2nd", "import")]) as box:
        assert [each["function"]["name"] for each in box.definitions] == ["_2nd", "get_weather_", "import_"]
        parameters = box.definitions[0]["function"]["parameters"]
        assert list(parameters["properties"]) == ["max-results", "class", "q", "any", "max_results"]
        assert "$schema" not in parameters
        assert box.repl_functions(True)[0]["summary"] == (
            "`_2nd(q: str, max_results: int = 3, class_: str | None = None, any: str | list = None, max_results_=None)`"
        )
        seen = await box.call_function("import_", ["x", 5], {"class_": "c", "max_results_": [1]}, everything=True)
        assert seen == '{"class": "c", "max-results": 5, "max_results": [1], "q": "x"}'
        assert (await box.call("_2nd", '{"max-results": 1}')).text == '{"max-results": 1}'


async def test_names_that_collide_are_named_both():
    with pytest.raises(
        ConfigError, match=r"tool 'a_b' of mcp server 'two': 'a_b' is also tool 'a-b' of mcp server 'one'"
    ):
        async with open_toolbox(mcp=[McpServer(plain("a-b"), name="one"), McpServer(plain("a_b"), name="two")]):
            pass
    with pytest.raises(ConfigError, match="'context' is a name of the REPL itself"):
        async with open_toolbox(mcp=[plain("context")], reserved={"context"}):
            pass
    with pytest.raises(ConfigError, match="is also tool 'length'"):
        async with open_toolbox([Tool(len, name="length")], [plain("length")]):
            pass


async def test_a_tool_that_it_does_not_have_is_a_mistake():
    with pytest.raises(ConfigError, match="it has no tool 'c'; there are: a, b"):
        async with open_toolbox(mcp=[McpServer(plain("b", "a"), tools=["a", "c"])]):
            pass


# --- results ----------------------------------------------------------------------------------


async def test_all_kinds_of_content(things):
    async with open_toolbox(mcp=[things]) as box:
        assert (await box.call("parts", "")).text.split("\n") == [
            "first",
            "[image/png, 12,345 bytes]",
            "[audio/wav, 0 bytes]",
            "[link: file:///a.txt]",
            "last",
            "[data, 12,345 bytes]",
        ]
        assert await box.call_function("data", [], {}, everything=True) == {"a": [1, 2]}
        assert (await box.call("data", "{}")).text == '{"a":[1,2]}'
        assert (await box.call("data", '{"with_image": true}')).text == '[image/gif, 3 bytes]\n{"a":[1,2]}'


async def test_what_the_server_calls_an_error_is_a_failure(things):
    async with open_toolbox(mcp=[things]) as box:
        output = await box.call("broken", "")
        assert output.failed
        assert output.text.startswith("error: Error executing tool broken")
        output = await box.call("get_weather", '{"days": "many"}')
        assert output.failed
        assert "city" in output.text
        assert "days" in output.text


async def test_no_arguments_break_the_connection(things):
    deep = ["[" * depth + "]" * depth for depth in (150, 160, 190, 253, 900)]
    async with open_toolbox(mcp=[things]) as box:
        for value in ['"\\ud800"', '{"\\udfff": 1}', "NaN", "1e999", "9" * 4000, "null", *deep]:
            assert (await box.call("get_weather", f'{{"city": {value}}}')).failed
            assert (await box.call("get_weather", '{"city": "Rome"}')).text == "sunny in Rome, 1"


# --- limits -----------------------------------------------------------------------------------


async def test_a_call_that_takes_too_long_is_cancelled_at_the_server(things, tmp_path):
    told = tmp_path / "told"
    async with open_toolbox(mcp=[McpServer(things, timeout=0.3)]) as box:
        began = time.monotonic()
        output = await box.call("hold", json.dumps({"seconds": 30, "told": str(told)}))
        assert output.text == "error: timed out after 0.3 s"
        assert time.monotonic() - began < 2
        await appears(told)
        assert not (await box.call("get_weather", '{"city": "Rome"}')).failed


async def appears(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


async def test_a_cancelled_call_is_cancelled_at_the_server(things, tmp_path):
    told = tmp_path / "told"
    async with open_toolbox(mcp=[things]) as box:
        call = asyncio.create_task(box.call("hold", json.dumps({"seconds": 30, "told": str(told)})))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await appears(told)
        assert not (await box.call("get_weather", '{"city": "Rome"}')).failed


async def test_calls_run_in_parallel_up_to_the_limit(things):
    async with open_toolbox(mcp=[McpServer(things, concurrency=4)]) as box:
        began = time.monotonic()
        outputs = await asyncio.gather(*(box.call("hold", '{"seconds": 0.2}') for _ in range(8)))
        assert 0.4 <= time.monotonic() - began < 1.2
    assert not any(output.failed for output in outputs)


# --- ends -------------------------------------------------------------------------------------


async def test_the_process_ends_with_the_toolbox():
    async with open_toolbox(mcp=[THINGS]) as box:
        pid = int((await box.call("pid", "")).text)
        assert lives(pid)
    assert not lives(pid)
    assert (await box.call("pid", "")).text == "error: mcp server 'python things.py' has ended"


async def test_the_process_ends_when_the_run_is_cancelled():
    pids: list[int] = []

    async def run() -> None:
        async with open_toolbox(mcp=[THINGS]) as box:
            pids.append(int((await box.call("pid", "")).text))
            await box.call("hold", '{"seconds": 30}')

    task = asyncio.create_task(run())
    while not pids:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(pids[0])


def test_the_process_ends_when_the_loop_does():
    pids: list[int] = []

    async def run() -> None:
        async with open_toolbox(mcp=[THINGS]) as box:
            pids.append(int((await box.call("pid", "")).text))
            await asyncio.sleep(30)

    async def leave() -> None:
        task = asyncio.create_task(run())
        while not pids:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not task.done()

    asyncio.run(leave())
    assert not lives(pids[0])


async def test_the_process_ends_when_the_run_is_cancelled_at_its_start():
    late = shlex.join([sys.executable, str(HERE / "things.py"), "late"])

    async def run() -> None:
        async with open_toolbox(mcp=[late]):
            pass

    task = asyncio.create_task(run())
    while not (started := children("late")):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(lives, started))


def children(word: str) -> list[int]:
    """This process's children whose command line ends with `word`."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    return [int(pid) for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(f"{word}\0".encode())]


async def test_one_that_does_not_start_takes_the_others_with_it():
    with pytest.raises(ConfigError, match="mcp server 'false'"):
        async with open_toolbox(mcp=[McpServer(THINGS, name="good"), "false"]):
            pass
    assert not children("stdio")


async def test_a_server_that_dies_fails_its_calls_and_stays_dead():
    async with open_toolbox(mcp=[THINGS]) as box:
        held = asyncio.create_task(box.call("hold", '{"seconds": 30}'))
        await asyncio.sleep(0.2)
        assert (await box.call("die", "")).text == "error: mcp server 'python things.py': Connection closed"
        assert (await held).text == "error: mcp server 'python things.py': Connection closed"
        began = time.monotonic()
        assert (await box.call("pid", "")).failed
        assert time.monotonic() - began < 1


async def test_a_killed_server_fails_its_calls():
    async with open_toolbox(mcp=[THINGS]) as box:
        pid = int((await box.call("pid", "")).text)
        held = asyncio.create_task(box.call("hold", '{"seconds": 30}'))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        assert (await held).failed


async def test_a_url_is_tried_again_by_the_next_call():
    with http_server() as (url, process):
        async with open_toolbox(mcp=[url]) as box:
            assert int((await box.call("pid", "")).text) == process.pid
            held = asyncio.create_task(box.call("hold", '{"seconds": 30}'))
            await asyncio.sleep(0.2)
            process.kill()
            process.wait()
            assert (await held).failed
            outputs = await asyncio.gather(*(box.call("pid", "") for _ in range(3)))
            assert all(output.failed for output in outputs)
            with http_server(port=int(url.split(":")[2].partition("/")[0])) as (_, another):
                outputs = await asyncio.gather(*(box.call("pid", "") for _ in range(3)))
                assert {output.text for output in outputs} == {str(another.pid)}


# --- starts -----------------------------------------------------------------------------------


async def test_headers_are_sent():
    with http_server(token="t0ken") as (url, _):
        async with open_toolbox(mcp=[McpServer(url, headers={"X-Token": "t0ken"})]) as box:
            assert not (await box.call("pid", "")).failed
        with pytest.raises(ConfigError, match=r"mcp server '127\.0\.0\.1:\d+': "):
            async with open_toolbox(mcp=[url]):
                pass


async def test_a_server_gets_no_other_variables_than_it_is_given(monkeypatch):
    monkeypatch.setenv("RLM_API_KEY", "secret")
    async with open_toolbox(mcp=[McpServer(THINGS, env={"MINE": "given"})]) as box:
        assert (await box.call("variable", '{"name": "MINE"}')).text == "given"
        assert (await box.call("variable", '{"name": "RLM_API_KEY"}')).text == ""
        assert (await box.call("variable", '{"name": "PATH"}')).text


PYTHON = shlex.quote(sys.executable)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f"{PYTHON} -c 'import nothing_like_it'", "last words: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("true", "mcp server 'true': MCPError: Connection closed$"),
        ("cat", "mcp server 'cat': "),
        ("http://127.0.0.1:9/mcp", r"mcp server '127\.0\.0\.1:9': ConnectError"),
    ],
)
async def test_one_that_cannot_be_started_is_a_config_error(command, says):
    with pytest.raises(ConfigError, match=says) as caught:
        async with open_toolbox(mcp=[command]):
            pass
    assert "\n" not in str(caught.value)


async def test_one_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("rlm.tools.mcp.START", 0.5)
    with pytest.raises(ConfigError, match=r"no answer within 0\.5 s"):
        async with open_toolbox(mcp=["sleep 30"]):
            pass
    assert not children("30")


def test_a_command_that_there_is_not_is_found_before():
    with pytest.raises(ConfigError, match="there is no command 'no-such-server'"):
        check_tools(mcp=["no-such-server --stdio"])
    check_tools(mcp=[THINGS, "http://127.0.0.1:9/mcp"])
    assert not children("stdio")
