"""Which loops are looked ahead of, how far, and how it ends."""

from __future__ import annotations

import re
import signal
import threading

import pytest
from guest.files import Entry, Files
from guest.text import Text

from tests.guest_loops.cells import EchoBridge, both, run

WORLD = """
import json
from collections import defaultdict
chunks = [f'chunk {i}' for i in range(10)]
rows = [{'id': i, 'text': f't{i}'} for i in range(10)]
out, d, groups = [], {}, defaultdict(list)
TEMPLATE, question = 'Ask {q} of {c}', 'what?'
def prompt(c, q='x'):
    '''A prompt.'''
    head = f'{q}: '
    if len(c) > 100:
        return head
    return head + c.strip()
def parse(r):
    try:
        return json.loads(r)
    except ValueError:
        return None
class Item:
    def __init__(self, text): self.text = text
    def strip(self): return self.text
items = [Item(c) for c in chunks]
"""


def programs(text: str) -> dict[str, str]:
    """By the comment above each."""
    parts = re.split(r"^# (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


AHEAD = programs(
    """
# a comprehension
r = [llm_query(f'Sum {c}') for c in chunks]

# a set
r = {llm_query(c) for c in chunks}

# a dict
r = {i: llm_query(c) for i, c in enumerate(chunks)}

# a condition
r = [llm_query(c) for c in chunks + rows if c and isinstance(c, str)]

# two clauses
r = [llm_query(f'{a} {b}') for a in range(2) for b in chunks[5 * a:5 * a + 5]]

# a filter by the reply
r = [c for c in chunks if 'yes' in llm_query(c).lower()]

# the reply or a default
r = [llm_query(c) or 'none' for c in chunks]

# a generator for list
r = list(llm_query(c) for c in chunks)

# a generator for join
r = '\\n'.join(llm_query(c) for c in chunks)

# append
for c in chunks:
    out.append(llm_query(f'Sum {c}'))

# assign to a dict
for i, c in enumerate(chunks):
    d[i] = llm_query(TEMPLATE.format(q=question, c=c))

# a prompt in a variable
for i, c in enumerate(chunks):
    p = f'{i}: {c}'
    r = llm_query(p)
    out.append(r)
    print(i, r[:4])

# a counter
n = 0
for c in chunks:
    n += 1
    out.append(llm_query(f'{n} {c}'))
    if n % 5 == 0:
        print(n)

# a total of replies
total = ''
for c in chunks:
    total += llm_query(c)

# continue
for c in ['', *chunks, '']:
    if not c:
        continue
    out.append(llm_query(c))

# continue after the reply
for c in chunks:
    r = llm_query(c)
    if 'chunk 3' in r:
        continue
    out.append(r)

# if around the call
for c in chunks + ['']:
    if c:
        out.append(llm_query(c))
    else:
        out.append(None)

# if on the reply
for c in chunks:
    if 'chunk 3' in llm_query(c):
        out.append(c)

# nested loops
for i in range(2):
    for c in chunks[i * 5:i * 5 + 5]:
        out.append((i, llm_query(f'{i} {c}')))

# records filled
for row in rows:
    row['s'] = llm_query('sum ' + row['text'])

# a record made
for c in chunks:
    row = {'c': c}
    row['s'] = llm_query(c)
    out.append(row)

# groups
for row in rows:
    groups[row['id'] % 2].append(llm_query(row['text']))

# setdefault
for row in rows:
    d.setdefault(row['id'] % 2, []).append(llm_query(row['text']))

# a function of the cell
r = [llm_query(prompt(c, q=question)) for c in chunks]

# a lambda
ask = lambda c: f'<{c}>'
r = [llm_query(ask(c)) for c in chunks]

# in a function
def go(cs, extra):
    res = []
    for c in cs:
        res.append(llm_query(f'{extra}{c}'))
    return res
r = go(chunks, 'e')

# in a method
class A:
    def go(self, cs):
        return [llm_query(f'{c}') for c in cs]
r = A().go(chunks)

# in a closure
def outer(x):
    def inner():
        return [llm_query(f'{x}{c}') for c in chunks]
    return inner
r = outer('k')()

# the reply is parsed
for c in chunks:
    out.append(parse(llm_query(c)))

# messages
r = [llm_query([{'role': 'user', 'content': c}], temperature=0.5) for c in chunks]

# a schema as JSON
r = [llm_query(c, schema={'type': 'object', 'properties': {'n': {'type': 'integer'}}}) for c in chunks]

# a schema as types
from typing import Literal
r = [llm_query(c, schema={'a': list[str], 'b': int | None, 'c': Literal['x', 'y']}) for c in chunks]

# a schema as a class
from dataclasses import dataclass
@dataclass
class Verdict:
    n: int
r = [llm_query(c, schema=Verdict) for c in chunks]

# a schema of nothing but null
r = [llm_query(c, schema=type_of_none) for c in chunks]

# other options
r = [llm_query(c, cache=False, tools=False, dedupe=True) for c in chunks]

# a keyword
r = [llm_query(prompt=c, model='m') for c in chunks]

# slices
text = 'abcdefghij' * 10
r = [llm_query(text[i:i + 10]) for i in range(0, len(text), 10)]

# zip
r = [llm_query(a + b) for a, b in zip(chunks, reversed(chunks))]

# items
r = [llm_query(f'{k}{v}') for k, v in rows[0].items() for n in range(5)]

# sorted
r = [llm_query(row['text']) for row in sorted(rows, key=lambda row: -row['id'])]

# json
r = [llm_query('x ' + json.dumps(row, indent=2)) for row in rows]

# any source of a list
r = [llm_query(c) for c in [item.text for item in items]]
"""
)


@pytest.mark.parametrize("name", AHEAD)
def test_calls_are_made_ahead(name):
    fast, slow = both(WORLD, AHEAD[name], type_of_none=type(None))
    assert slow.error is None
    assert slow.bridge.most == 1
    assert fast.bridge.most == len(fast.asked) == 10
    assert len(fast.bridge.sent) == 10


@pytest.mark.parametrize(
    "code",
    [
        "r = [llm_query(part) for part in text.chunks(100)]",
        "for i, part in enumerate(text.chunks(100)):\n    out.append(llm_query(f'{i} {part}'))",
        "r = [llm_query(text[i:i + 100]) for i in range(0, len(text), 100)]",
        "for path, content in files.items():\n    d[path] = llm_query(f'{path}: {content[:50]}')",
        "r = {path: llm_query(files[path]) for path in files.paths() if path.endswith('.md')}",
        "r = {path: llm_query(files[path]) for path in files}",
    ],
)
def test_calls_are_made_ahead_over_the_input(code, tmp_path):
    entries = {}
    for n in range(10):
        path = tmp_path / f"{n}.md"
        path.write_text(f"file {n} é " * 10, encoding="utf-8")
        entries[path.name] = Entry(str(path), 100)
    whole = tmp_path / "whole"
    whole.write_text("some text é " * 80, encoding="utf-8")
    names = {"text": Text.open(str(whole)), "files": Files(entries, str_max=1000)}
    fast, slow = both(WORLD, code, **names)
    assert slow.error is None
    assert fast.bridge.most == len(fast.asked) == len(fast.bridge.sent) == 10


AS_WRITTEN = programs(
    """
# a reply in the next prompt
p = ''
for c in chunks:
    p = llm_query(p + c)

# a prompt reads what the loop fills
for c in chunks:
    out.append(llm_query(f'{len(out)} {c}'))

# by another name
same = out
for c in chunks:
    out.append(llm_query(f'{len(same)} {c}'))

# from within
both = [out]
for c in chunks:
    out.append(llm_query(f'{both} {c}'))

# what was filled before
for i, row in enumerate(rows):
    row['s'] = llm_query(row['text'] + rows[i - 1].get('s', ''))

# a record by another name
for i in range(10):
    last = rows[0]
    out.append(llm_query(f"{i} {last['id']}"))
    last['id'] = i

# the list by another name
for c in chunks:
    more = out
    more += [llm_query(f'{len(out)} {c}')]

# through a function that reads a counter
n = 0
def p(c): return f'{n}{c}'
for c in chunks:
    out.append(llm_query(p(c)))
    n += 1

# a name that may stand for the list
buffer = out
for c in chunks:
    r = llm_query(f'{len(out)} {c}')
    if 'chunk 7' in r:
        buffer = []
    buffer.append(r)

# a record chosen by the reply
for i, c in enumerate(chunks):
    r = llm_query(f"{rows[0]['id']} {c}")
    row = rows[len(r) * 0]
    row['id'] = i

# a function that is not there
for c in chunks:
    out.append(llm_query(c))
    nowhere(c)

# a function in a variable of the loop
for f in [str.lower, str.upper]:
    out.append(llm_query(f('x')))

# a method of an object
class Queue:
    def count(self, c): out.append('effect')
queue = Queue()
for c in chunks:
    r = llm_query(c)
    queue.count(r)

# an attribute of an object
for item in items:
    r = llm_query('x')
    t = item.text

# a function of a module
import os
for c in chunks:
    r = llm_query(c)
    if not r:
        os.replace('a', 'b')

# whether it is asked depends on a reply
prev = ''
for c in chunks:
    if 'chunk 3' in prev:
        prev = ''
        continue
    prev = llm_query(c)

# a condition depends on a reply
prev = ''
for c in chunks:
    if 'chunk 3' not in prev:
        prev = llm_query(c)

# through a function
def p(c): return f'{len(out)}{c}'
for c in chunks:
    out.append(llm_query(p(c)))

# the loop's own list
for i, c in enumerate(chunks):
    chunks[i] = llm_query(c)

# the dict it goes through
for k, v in rows[0].items():
    rows[0][k] = llm_query(f'{v}')

# break
for c in chunks:
    r = llm_query(c)
    if 'x' in r:
        break

# return
def go():
    for c in chunks:
        r = llm_query(c)
        if 'x' in r:
            return r
go()

# try
for c in chunks:
    try:
        out.append(llm_query(c))
    except ValueError:
        pass

# else
for c in chunks:
    out.append(llm_query(c))
else:
    pass

# with
import contextlib
for c in chunks:
    with contextlib.nullcontext():
        out.append(llm_query(c))

# any
r = any('x' in llm_query(c) for c in chunks)

# a generator kept
g = (llm_query(c) for c in chunks)
r = list(g)

# list is another function
list = tuple
r = list(llm_query(c) for c in chunks)

# strict
r = [llm_query(c, strict=True) for c in chunks]

# the schemas differ
r = [llm_query(c, schema=int if i % 2 else str) for i, c in enumerate(chunks)]

# images
r = [llm_query(c, images=[b'x']) for c in chunks]

# the options differ
r = [llm_query(c, max_tokens=i + 1) for i, c in enumerate(chunks)]

# two calls
r = [llm_query(c) + llm_query(c) for c in chunks]

# a call in a call
r = [llm_query(llm_query(c)) for c in chunks]

# a call on the way
r = [llm_query(c) if c else '' for c in chunks]

# a call in and
r = [c and llm_query(c) for c in chunks]

# a call in a lambda
r = [(lambda: llm_query(c))() for c in chunks]

# star
r = [llm_query(*[c]) for c in chunks]

# walrus
r = [x for c in chunks if (x := llm_query(c))]

# objects in prompts
r = [llm_query(item.text) for item in items]

# methods of objects
r = [llm_query(item.strip()) for item in items]

# a call of anything
import time
for c in chunks:
    out.append(llm_query(c))
    time.sleep(0)

# a function with an effect
def note(r): out.append(r)
for c in chunks:
    note(llm_query(c))

# a function of its own name
def llm_query(c): return c.upper()
r = [llm_query(c) for c in chunks]

# a generator function
def gen(): yield from chunks
r = [llm_query(c) for c in gen()]

# an iterator
it = iter(chunks)
r = [llm_query(c) for c in it]

# locals
def go():
    r = [llm_query(c) for c in chunks]
    return list(locals())
r = go()

# an object is filled
class L(list): pass
out = L()
for c in chunks:
    out.append(llm_query(c))

# one item
r = [llm_query(c) for c in chunks[:1]]

# no item
r = [llm_query(c) for c in []]

# chance
import random
random.seed(1)
r = [llm_query(f'{random.random()} {c}') for c in chunks]

# print to a file
import io
f = io.StringIO()
for c in chunks:
    print(llm_query(c), file=f)
"""
)


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_doubtful_loops_run_as_written(name):
    fast, _ = both(WORLD, AS_WRITTEN[name])
    assert fast.bridge.most <= 1
    assert fast.bridge.sent == fast.asked
    assert not any("loop" in options for options in fast.bridge.options)


def test_a_loop_in_rounds_is_ahead_within_each():
    rounds = "for k in range(3):\n    new = []\n    for c in todo:\n        new.append(llm_query(c))\n    todo = new"
    fast, _ = both(WORLD, "todo = chunks\n" + rounds)
    assert fast.bridge.most == 10
    assert [options.get("loop") for options in fast.bridge.options] == [2, 4, 4]


@pytest.mark.parametrize(
    "body",
    [
        "if i == 3 and 'no' in prev:\n        continue\n    prev = llm_query(c)",
        "if i == 3:\n        if 'no' in prev:\n            continue\n    prev = llm_query(c)",
        "if i != 3 or 'no' not in prev:\n        prev = llm_query(c)",
        "prev = llm_query(c if i != 3 else prev)",
    ],
)
def test_foreseeing_ends_where_it_depends_on_a_reply(body):
    fast, _ = both(WORLD, f"prev = ''\nfor i, c in enumerate(chunks):\n    {body}")
    assert fast.bridge.most == 3
    assert fast.bridge.sent == fast.asked


def test_the_trace_is_told_the_line():
    fast, slow = both(WORLD, "x = 1\n\nr = [\n    llm_query(c)\n    for c in chunks\n]")
    assert [options.get("loop") for options in fast.bridge.options] == [3]
    assert not any(options.get("loop") for options in slow.bridge.options)


def test_errors_are_results_as_ever():
    fast, _ = both(WORLD, "r = [llm_query(c + ' fail' * (i == 3)) for i, c in enumerate(chunks)]")
    assert fast.bridge.most == 10
    assert type(fast.namespace["r"][3]).__name__ == "CallError"


# --- how far ----------------------------------------------------------------------------------


def test_never_more_than_the_width_is_under_way():
    code = "r = [llm_query(f'{i}') for i in range(100)]"
    fast, _ = both(WORLD, code, width=8)
    assert fast.bridge.most == 8
    assert 100 / 8 < len(fast.bridge.options) <= 100 / 2


def test_many_items_take_as_long_as_their_waves():
    code = "r = [llm_query(f'{i}') for i in range(64)]"
    fast = run(code, width=16, delay=0.1)
    assert fast.bridge.sent == run(code, ahead=False).bridge.sent
    # Four waves of sixteen; as written it would be 6.4 seconds.
    assert 0.4 <= fast.seconds < 1.6


def test_large_prompts_are_not_all_held_at_once(monkeypatch):
    monkeypatch.setattr("guest.lookahead.MAX_AHEAD", 1000)
    fast, _ = both(WORLD, "r = [llm_query(f'{i} ' + 'x' * 400) for i in range(20)]")
    assert 2 <= fast.bridge.most <= 4
    assert len(fast.bridge.sent) == 20


def test_a_loop_that_takes_too_long_to_foresee_goes_on_as_written(monkeypatch):
    monkeypatch.setattr("guest.purevalues.MAX_TOTAL", 500)
    fast, _ = both(WORLD, "r = [llm_query(f'{i} {len([n for n in range(20)])}') for i in range(20)]")
    ahead = [options for options in fast.bridge.options if "loop" in options]
    assert len(ahead) == 1
    assert 2 <= fast.bridge.most < 20


def test_what_was_looked_at_is_looked_at_again_after_the_cell_has_run():
    code = (
        "class Key:\n    def __hash__(self): return 1\n    def __eq__(self, other): out.append('asked'); return False\n"
        "class Sneaky:\n    def __str__(self):\n        d[Key()] = 'x'\n        return 'now'\n"
        "sneaky = Sneaky()\nd[5] = 'five'\nkeys = [5, 5, 5, 5, 5, 5, 1, 1, 1, 1]\n"
        "for i, k in enumerate(keys):\n    r = llm_query(f'{i} {d.get(k)}')\n    if i == 0:\n        print(sneaky)"
    )
    fast, slow = both(WORLD, code, width=4)
    assert fast.bridge.most == 4
    assert len(slow.namespace["out"]) == 4


def test_prompts_that_take_long_to_foresee_do_not_hold_up_the_first():
    code = "r = [llm_query(f'{i} {len([n for n in range(8000)])}') for i in range(40)]"
    fast, _ = both(WORLD, code)
    assert 2 <= fast.bridge.most < 40
    assert len(fast.bridge.sent) == 40


# --- how it ends ------------------------------------------------------------------------------

FAILING = "def go():\n    return [llm_query(f'{10 // (5 - i)}') for i in range(10)]\n"


def test_a_prompt_that_fails_fails_in_its_place():
    fast, slow = both(WORLD, FAILING + "go()")
    assert slow.error is not None
    assert "line 2, in go" in slow.error["traceback"]
    assert fast.bridge.most == 5
    assert fast.bridge.sent == fast.asked == slow.asked
    assert fast.bridge.under_way == 0


@pytest.mark.parametrize(
    "code",
    [
        "for i, c in enumerate(chunks):\n    out.append(llm_query(c))\n    d[i] = 10 // (5 - i)",
        "r = [(llm_query(c), 10 // (5 - i)) for i, c in enumerate(chunks)]",
        "r = list((llm_query(c), 10 // (5 - i)) for i, c in enumerate(chunks))",
    ],
)
def test_an_exception_after_a_reply_cancels_what_is_ahead(code):
    outcome = run(
        WORLD, f"try:\n{indent(code)}\nexcept ZeroDivisionError as e:\n    x = 1\nx = llm_query('more')", delay=0.05
    )
    slow = run(
        WORLD, f"try:\n{indent(code)}\nexcept ZeroDivisionError as e:\n    x = 1\nx = llm_query('more')", ahead=False
    )
    assert outcome == slow
    assert len(outcome.bridge.sent) == 11
    assert len(slow.bridge.sent) == 7


def indent(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())


def test_what_is_ahead_when_a_loop_is_left_is_cancelled_at_once():
    code = (
        "def go():\n    for i, c in enumerate(chunks):\n        r = llm_query(c)\n        d[i] = 10 // (1 - i)\n"
        "try:\n    go()\nexcept ZeroDivisionError:\n    left = bridge.under_way, bridge.cancelled"
    )

    class FirstTwo(EchoBridge):
        def _answer(self, number, start, items):
            super()._answer(number, start, items[:2])

    bridge = FirstTwo()
    outcome = run(WORLD, code, bridge=bridge)
    assert outcome.error is None
    assert outcome.namespace["left"] == (0, 8)


@pytest.mark.parametrize("option", ["colour='red'", "query=1", "loop=3", "items=[1]", "args=2", "self=1"])
def test_wrong_options_are_told_as_ever(option):
    fast, slow = both(WORLD, f"r = [llm_query(c, {option}) for c in chunks]")
    assert slow.error is not None
    assert slow.error["name"] == "TypeError"
    assert fast.bridge.sent == []


@pytest.mark.parametrize("error", ["ValueError", "RuntimeError"])
def test_a_class_that_takes_no_part_of_the_data_says_so_in_its_place(error):
    code = (
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Length:\n    n: int\n"
        f"    def __post_init__(self):\n        if self.n == 4:\n            raise {error}('not four')\n"
        "for i in range(10):\n    out.append(llm_query('x' * i, schema=Length))"
    )
    fast, slow = both(WORLD, code)
    assert (slow.error is None) == (error == "ValueError")
    assert fast.bridge.most == 10


def test_a_refused_batch_is_refused_in_the_first_call():
    fast, slow = both(WORLD, "for c in chunks:\n    out.append(llm_query(c, model='unknown'))")
    assert slow.error is not None
    assert slow.error["value"] == "no such model"
    assert fast.namespace["out"] == []


def test_a_host_that_refuses_what_is_ahead_is_asked_one_by_one():
    class Refusing(EchoBridge):
        def send(self, message):
            if "loop" in message.get("opts", {}):
                self._tell(message["id"], {"op": "done", "error": "too many prompts at the same time"})
            else:
                super().send(message)

    outcome = run(WORLD, "for c in chunks:\n    out.append(llm_query(c))", bridge=Refusing())
    assert outcome == run(WORLD, "for c in chunks:\n    out.append(llm_query(c))", ahead=False)
    assert len(outcome.bridge.sent) == 10


def test_what_was_cancelled_before_it_was_asked_is_asked_again():
    class Cancelling(EchoBridge):
        def _tell(self, number, message):
            if message["op"] == "results" and len(message["items"]) > 1:
                stopped = {"error": {"kind": "cancelled", "message": "stopped"}}
                message["items"] = [[at, stopped if at > 3 else item] for at, item in message["items"]]
            super()._tell(number, message)

    outcome = run(WORLD, "for c in chunks:\n    out.append(llm_query(c))", bridge=Cancelling())
    assert outcome == run(WORLD, "for c in chunks:\n    out.append(llm_query(c))", ahead=False)
    assert len(outcome.bridge.sent) == 16


def test_a_loop_whose_function_goes_away_goes_on_as_written():
    code = (
        "def swap(i):\n    globals()['llm_query'] = str.upper\n"
        "class Sneaky:\n    def __str__(self):\n        globals()['llm_query'] = str.upper\n        return 'now'\n"
        "sneaky = Sneaky()\n"
        "for i, c in enumerate(chunks):\n    out.append(llm_query(c))\n    if i == 4:\n        print(sneaky)"
    )
    fast, _ = both(WORLD, code)
    assert fast.namespace["out"][4:6] == ["re: chunk 4", "CHUNK 5"]
    assert fast.bridge.most == 10
    assert fast.bridge.under_way == 0


def test_a_prompt_that_turns_out_otherwise_is_asked_as_it_is():
    code = (
        "class Sneaky:\n    def __str__(self):\n        rows[6]['text'] = 'changed'\n        return 'now'\n"
        "sneaky = Sneaky()\n"
        "for row in rows:\n    out.append(llm_query(row['text']))\n    if row['id'] == 4:\n        print(sneaky)"
    )
    fast, slow = both(WORLD, code)
    assert '"changed"' in slow.asked
    assert fast.bridge.most == 10
    assert len(fast.bridge.sent) == 14


def test_options_that_turn_out_otherwise_are_those_of_the_call():
    code = (
        "class Sneaky:\n    def __str__(self):\n        rows[0]['id'] = 7\n        return 'now'\n"
        "sneaky = Sneaky()\nrows[0]['id'] = 5\n"
        "for i, c in enumerate(chunks):\n    out.append(llm_query(c, max_tokens=rows[0]['id']))\n"
        "    if i == 4:\n        print(sneaky)"
    )
    fast, slow = both(WORLD, code)
    assert slow.asked[4:6] == ['["chunk 4", {"max_tokens": 5}]', '["chunk 5", {"max_tokens": 7}]']
    assert fast.bridge.most == 10


def test_what_is_sent_is_what_was_foreseen():
    code = (
        "class Toggle:\n    def __str__(self):\n        rows[1]['id'] = 100 - rows[1]['id']\n        return 'now'\n"
        "toggle = Toggle()\n"
        "for row in rows:\n    if row['id'] == 0:\n        print(toggle)\n"
        "    out.append(llm_query([row]))\n    if row['id'] == 0:\n        print(toggle)"
    )
    fast, _ = both(WORLD, code)
    assert fast.bridge.sent[1] == '[{"id": 1, "text": "t1"}]'


def test_a_run_whose_traceback_is_kept_does_not_stand_in_the_way_of_the_next():
    code = (
        "def go(k):\n    return [(llm_query(f'{k} {c}'), 1 // (2 + 9 * k - i)) for i, c in enumerate(chunks[:5 + k])]\n"
        "kept = []\ntry:\n    go(0)\nexcept ZeroDivisionError as e:\n    kept.append(e)\n"
        "r = go(1)"
    )
    outcome = run(WORLD, code, delay=0.02)
    assert outcome.error is None
    assert outcome.bridge.most == 6


@pytest.mark.parametrize("message", ["[{'role': 'user', 'content': row}]", "row"])
def test_a_prompt_that_is_changed_after_it_was_foreseen_is_asked_as_it_is(message):
    code = (
        (
            "class Sneaky:\n    def __str__(self):\n        rows[3]['id'] = True\n        return 'now'\n"
            f"for row in rows:\n    out.append(llm_query({message}))\n    if row['id'] == 1:\n        print(Sneaky())"
        )
        .replace("Sneaky()", "sneaky")
        .replace("class sneaky", "class Sneaky")
        .replace("for row", "sneaky = Sneaky()\nfor row", 1)
    )
    fast, slow = both(WORLD, code)
    assert "true" in slow.asked[3]
    assert fast.bridge.most == 10


def test_an_interrupt_while_waiting_cancels_and_is_raised():
    threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
    outcome = run(WORLD, "for c in chunks:\n    out.append(llm_query(c))", delay=5)
    assert outcome.error is not None
    assert outcome.error["name"] == "KeyboardInterrupt"
    assert outcome.seconds < 2
    assert outcome.bridge.most == outcome.bridge.cancelled == 10


def test_an_exception_of_a_signal_handler_is_not_taken_for_ours():
    code = (
        "import signal\n"
        "class Late(Exception): pass\n"
        "def late(*_): raise Late('now')\n"
        "before = signal.signal(signal.SIGALRM, late)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "try:\n    for c in chunks:\n        out.append(llm_query(c))\n"
        "finally:\n    _ = signal.signal(signal.SIGALRM, before)"
    )
    outcome = run(WORLD, code, delay=5)
    assert outcome.error is not None
    assert outcome.error["name"] == "Late"
    assert outcome.bridge.cancelled == 10


def test_threads_have_lookaheads_of_their_own():
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def go(k):\n    return [llm_query(f'{k} {c}') for c in chunks]\n"
        "with ThreadPoolExecutor(4) as pool:\n    r = list(pool.map(go, range(8)))"
    )
    outcome = run(WORLD, code, delay=0.05)
    assert outcome.namespace["r"] == [[f"re: {k} chunk {i}" for i in range(10)] for k in range(8)]
    assert outcome.bridge.most > 10
    assert len(outcome.bridge.sent) == 80


def test_nothing_is_under_way_beyond_the_cell():
    code = (
        "def go():\n    for c in chunks:\n        out.append(llm_query(c))\n"
        "thread = threading.Thread(target=go, daemon=True)\nthread.start()\ntime.sleep(0.1)"
    )
    import time

    outcome = run(WORLD, code, delay=0.5, threading=threading, time=time)
    assert outcome.bridge.cancelled == 10
    # The thread goes on, as written.
    outcome.namespace["thread"].join(10)
    assert outcome.namespace["out"] == [f"re: chunk {i}" for i in range(10)]
    assert len(outcome.bridge.sent) == 20


def test_a_loop_within_its_own_call_comes_out_the_same():
    code = (
        "class Deep:\n    def __init__(self, n): self.n = n\n"
        "    def __str__(self):\n        return go(self.n - 1)\n"
        "deep = [Deep(n) for n in range(3)]\n"
        "def go(n):\n    text = ''\n    for c in chunks[:3]:\n        text += llm_query(f'{n} {c}')\n"
        "        if n > 0:\n            print(deep[n])\n    return text\n"
        "r = go(2)"
    )
    fast, slow = both(WORLD, code)
    assert len(slow.asked) > 10
    assert fast.bridge.most > 1


def test_our_own_mistakes_are_not_the_cells(monkeypatch):
    from guest import ahead, lookahead, loopsim

    for module, name in ((ahead, "Simulation"), (loopsim.Simulation, "asks"), (lookahead, "mark_prompt")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_: 1 / 0)
            fast, _ = both(WORLD, AHEAD["append"])
            assert len(fast.asked) == 10
