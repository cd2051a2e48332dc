"""The options of recursion and tools on the command line, and what a run of that kind prints."""

from __future__ import annotations

import json

import pytest

from rlm.testing import ScriptedModelServer, Turns

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

FINISH = "answer['ready'] = True"


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


TOOL = '''
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} means 42"

def double(n: int) -> int:
    return 2 * n
'''


def test_tools_functions_and_children(ask, isolated_env) -> None:
    (isolated_env / "mytools.py").write_text(TOOL)

    def sub(request):
        if request.stream:
            return cell(f"answer['content'] = llm_query('what is hay?')\n{FINISH}")
        if request.messages[-1]["role"] == "tool":
            return request.prompt
        return {"tool_calls": [{"name": "lookup", "arguments": {"word": "hay"}}]}

    root = cell(f"answer['content'] = f'{{rlm_query(\"?\", context[:3])}} {{double(4)}}'\n{FINISH}")
    options = ("--depth", 2, "--tool", "mytools.py:lookup", "--function", "double=mytools:double")
    with ScriptedModelServer({"root": root, "sub": sub}) as server:
        ran = ask(server, *options)
    assert ran.code == 0, ran.err
    assert ran.out == "hay means 42 8\n"
    assert "child 0.1 answered, 1 turn" in ran.err
    assert "children with sub" in ran.err


def test_models_by_depth_and_no_lookahead(rlm, document) -> None:
    root = cell(f"answer['content'] = rlm_query('?') + str([llm_query(c) for c in 'ab'])\n{FINISH}")
    child = cell(f"answer['content'] = llm_query('x')\n{FINISH}")

    def second(request):
        return child if request.stream else "from b"

    with ScriptedModelServer({"a": root, "b": second, "c": "from c"}) as server:
        common = ("--base-url", server.base_url, "--sandbox", "process", "--json")
        ran = rlm("ask", "?", document, "--models", "a,b,c", "--depth", 2, "--no-auto-parallel", *common)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["answer"] == "from c['from b', 'from b']"


def test_mistakes_are_one_line_and_exit_2(ask) -> None:
    with ScriptedModelServer({"root": "x"}) as server:
        for arguments, words in (
            (("--tool", "nowhere:f"), "nowhere"),
            (("--function", "f"), "NAME=MODULE:FUNCTION"),
            (("--mcp", "no-such-server-here"), "no command 'no-such-server-here'"),
            (("--depth", -1), "depth"),
            (("--cache", "/dev/null/x"), "cache"),
        ):
            ran = ask(server, *arguments)
            assert ran.code == 2, (arguments, ran)
            assert len(ran.errors) == 1
            assert words in ran.errors[0]
            assert ran.out == ""
    assert server.request_count == 0


def test_a_cache_is_used_by_the_next_run(ask, isolated_env) -> None:
    root = Turns([cell(f"answer['content'] = llm_query('p')\n{FINISH}")])
    with ScriptedModelServer({"root": root, "sub": ["first", "second"]}) as server:
        runs = [ask(server, "--cache", isolated_env / "cache", "--json") for _ in range(2)]
    results = [json.loads(ran.out) for ran in runs]
    assert [result["answer"] for result in results] == ["first", "first"]
    assert [result["usage"]["sub"]["cached_calls"] for result in results] == [0, 1]
