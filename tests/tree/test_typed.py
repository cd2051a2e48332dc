"""Sub-calls whose replies are data, and prompts with images."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import Fault
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def ask(kind: str, prompts: str = "['p']") -> str:
    return cell(f"r = llm_batch({prompts}, schema={kind})\nanswer['content'] = repr(r)\n" + FINISH)


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("int", '{"value": 3}', "[3]"),
        ("int", "3", "[3]"),
        ("list[str]", '```json\n["a", "b"]\n```', "[['a', 'b']]"),
        ("{'name': str, 'tags': list[str]}", 'Sure: {"name": "x", "tags": []} - done', "[{'name': 'x', 'tags': []}]"),
        ("str", "just text", "['just text']"),
        ("__import__('typing').Literal['yes', 'no']", "yes", "['yes']"),
        ("int | None", '{"value": null}', "[None]"),
        ("dict[str, float]", '{"a": 1}', "[{'a': 1.0}]"),
        ("set[int]", "[1, 1, 2]", "[{1, 2}]"),
    ],
)
async def test_results_are_data(stage: Stage, kind: str, reply: str, expected: str) -> None:
    result = await stage.run({"root": ask(kind), "sub": reply})
    assert result.answer == expected
    (call,) = stage.of("call.completed")
    assert "data" in call
    assert stage.server is not None
    body = stage.server.requests[1].body
    assert body["response_format"]["json_schema"]["schema"]["type"] == "object"
    assert "fits this JSON Schema" in stage.prompts("sub")[0]


async def test_classes_of_the_cell_become_their_objects(stage: Stage, sandbox: str) -> None:
    root = cell(
        "import enum, typing\nfrom dataclasses import dataclass\n"
        "class Mood(enum.Enum):\n    GOOD = 'good'\n    BAD = 'bad'\n"
        "@dataclass\nclass Review:\n    mood: Mood\n    stars: int = 0\n"
        "class Person(typing.NamedTuple):\n    name: str\n"
        "r = llm_query('review', schema=Review)\np = llm_query('person', schema=list[Person])\n"
        "answer['content'] = f'{r} {p}'\n" + FINISH
    )

    def sub(request: Any) -> str:
        return '{"mood": "good"}' if "review" in request.prompt else '[{"name": "Ann"}]'

    result = await stage.run({"root": root, "sub": sub}, sandbox=sandbox)
    assert result.answer == "Review(mood=<Mood.GOOD: 'good'>, stars=0) [Person(name='Ann')]"


async def test_a_reply_that_does_not_fit_is_repaired_once(stage: Stage, sandbox: str) -> None:
    def sub(request: Any) -> str:
        repaired = len(request.messages) > 2
        return {"a": "[1]", "b": "[2]" if repaired else "two", "c": "no"}[request.messages[1]["content"][0]]

    root = cell(
        "r = llm_batch(['a', 'b', 'c'], schema=list[int])\n"
        "answer['content'] = f'{r[:2]} {r[2].kind} {r[2].text} {r[2].message}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": sub}, sandbox=sandbox)
    assert result.answer.startswith("[[1], [2]] invalid no the reply does not fit the schema")
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == 1 + 2 + 2
    assert result.usage.sub.calls == 5
    assert sorted(call["attempts"] for call in stage.of("call.completed")) == [1, 2, 2]
    spent = sum(call["input_tokens"] for call in stage.of("call.completed"))
    assert spent == result.usage.sub.input_tokens


async def test_an_endpoint_without_structured_output_is_told_in_words(stage: Stage) -> None:
    result = await stage.run(
        {"root": ask("int", "['p', 'q', 'r']"), "sub": "7"}, server_unsupported_params=["response_format"]
    )
    assert result.answer == "[7, 7, 7]"
    assert stage.server is not None
    assert "response_format" not in stage.server.requests[-1].body


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("{'type': 'string', 'pattern': '(a+)+$'}", "'pattern' is not supported"),
        ("{'$ref': 'http://127.0.0.1/schema'}", "leads nowhere"),
        ("{'type': 'thing'}", "type is one of"),
        ("{'type': 'array', 'items': {'enum': 3}}", "'enum' has a value"),
        ("open", "no schema"),
        ("{'anyOf': [{'type': 'integer'}] * 600}", "more than 500 parts"),
    ],
)
async def test_a_schema_that_cannot_be_used_is_told_at_once(stage: Stage, kind: str, message: str) -> None:
    root = cell(
        f"try: r = llm_batch(['p'], schema={kind})\nexcept Exception as e: r = f'{{type(e).__name__}}: {{e}}'\n"
        "answer['content'] = r\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"})
    assert message in result.answer
    assert stage.prompts("sub") == []


async def test_typed_calls_stay_within_the_budget(stage: Stage) -> None:
    """A repair costs a request; when no room is left for it, the reply that did not fit is kept in the error."""
    root = cell(
        "r = llm_query('p' * 4000, schema=int)\nanswer['content'] = f'{r.kind}'\n" + FINISH,
    )
    result = await stage.run({"root": root, "sub": "word " * 400}, max_tokens=7500, sub_max_tokens=2000)
    assert result.answer in ("budget", "invalid")
    usage = result.usage
    assert sum(u.input_tokens + u.output_tokens for u in (usage.root, usage.sub)) <= 7500


# --- images ---------------------------------------------------------------------------------------

IMAGES = """
import io, base64
from pathlib import Path
png = base64.b64decode("BASE64")
Path("/tmp/a.png").write_bytes(png)
class Picture:
    def save(self, out, format): out.write(png)
r = llm_query("what is it?", images=["/tmp/a.png", png, Picture()])
s = llm_batch(["one", "two"], images=[[png], [png, png]])
t = llm_batch([{"prompt": "three", "images": [png]}, "four"], images=png)
u = llm_query([{"role": "user", "content": "five"}, {"role": "assistant", "content": "six"}], images=[png])
answer["content"] = " ".join([r, *s, *t, u])
""".replace("BASE64", base64.b64encode(PNG).decode())


async def test_images_become_image_parts(stage: Stage, sandbox: str) -> None:
    def sub(request: Any) -> str:
        content = next(m["content"] for m in request.messages if m["role"] == "user")
        assert all(part["image_url"]["url"].startswith("data:image/png;base64,iVBOR") for part in content[1:])
        return f"{content[0]['text']}={len(content) - 1}"

    result = await stage.run({"root": cell(IMAGES + FINISH), "sub": sub}, sandbox=sandbox)
    assert result.answer == "what is it?=3 one=1 two=2 three=2 four=1 five=1"
    calls = stage.of("call.completed")
    assert calls[0]["prompt"]["images"][0] == {"mime": "image/png", "characters": len(base64.b64encode(PNG))}
    assert "iVBOR" not in json.dumps(calls)


async def test_what_is_no_image_is_told_before_anything_is_sent(stage: Stage) -> None:
    root = cell(
        "for bad in (b'no image', 3, '/nowhere.png', b'\\x89PNG\\r\\n' + bytes(6 << 20)):\n"
        "    try: llm_query('?', images=[bad])\n"
        "    except Exception as e: print(type(e).__name__)\n"
        "try: llm_batch(['a', 'b'], images=[[b''], [b''], [b'']])\n"
        "except ValueError as e: print(e)\n"
        "answer['content'] = 'x'\n" + FINISH
    )
    await stage.run({"root": root, "sub": "x"})
    lines = stage.of("cell.completed")[0]["output"].splitlines()
    assert lines[:4] == ["ValueError", "TypeError", "FileNotFoundError", "ValueError"]
    assert lines[4] == "images for 3 prompts, and there are 2"
    assert stage.prompts("sub") == []


async def test_hostile_images_and_options_are_refused_by_the_host(stage: Stage) -> None:
    items = [
        {"prompt": "p", "images": [{"mime": "text/html", "data": "AAAA"}]},
        {"prompt": "p", "images": [{"mime": "image/png", "data": "not base64!"}]},
        {"prompt": "p", "images": "x"},
        {"prompt": "p", "images": [{"mime": ["image/png"], "data": "AAAA"}]},
        {"prompt": "p", "schema": {"type": "string", "pattern": "x"}},
        {"messages": [{"role": "assistant", "content": "a"}], "images": [{"mime": "image/png", "data": "AAAA"}]},
    ]
    root = cell(
        "from guest.batches import OpenBatch\n"
        f"r = OpenBatch(get_ipython().kernel.guest.bridge, {items!r}, {{}}).wait()\n"
        "answer['content'] = ' '.join(x.kind for x in r)\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"})
    assert result.answer == " ".join(["invalid"] * len(items))


# --- the cache ------------------------------------------------------------------------------------


async def test_replies_are_kept_across_runs_where_asked(stage: Stage, tmp_path: Path) -> None:
    root = cell(
        "r = llm_batch(['a', 'b', 'b'])\ns = llm_query('t', schema=int)\n"
        "answer['content'] = f'{[str(x) for x in r]} {s} {[x.cached for x in r]}'\n" + FINISH
    )
    replies = {"root": root, "sub": [*"123", "4", Fault.http(500)]}
    cache = {"cache": tmp_path / "cache", "server_port": 0}
    first = await stage.run(replies, **cache)
    assert first.answer == "['1', '2', '3'] 4 [False, False, False]"
    port = int(str(stage.server and stage.server.base_url).rsplit(":", 1)[1].split("/")[0])
    again = await stage.run({"root": root, "sub": Fault.http(400)}, cache=tmp_path / "cache", server_port=port)
    assert again.answer == "['1', '2', '3'] 4 [True, True, True]"
    assert (again.usage.sub.calls, again.usage.sub.cached_calls) == (0, 4)
    assert (tmp_path / "cache/calls.sqlite").stat().st_mode & 0o777 == 0o600
    other = await stage.run({"root": root, "sub": "9"}, cache=tmp_path / "cache")
    assert other.usage.sub.calls == 4, "another endpoint is another model"


async def test_a_call_may_ask_anew(stage: Stage, tmp_path: Path) -> None:
    root = cell(
        "a = llm_query('p')\nb = llm_query('p', cache=False)\nc = llm_batch(['p'], cache=False)[0]\n"
        "d = llm_batch([{'prompt': 'p', 'cache': False}])[0]\nanswer['content'] = f'{a}{b}{c}{d}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": list("1234")}, cache=tmp_path)
    assert result.answer == "1234"
    assert result.usage.sub.cached_calls == 0
