"""Random loops, sound and doubtful ones, leave behind the same whether their calls are made ahead or not."""

from __future__ import annotations

import ast
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.guest_loops.cells import Outcome, run

WORLD = """
import json
LOG = []

class Spy:
    '''Nothing can be asked of it without leaving a trace.'''
    def __init__(self, name):
        self.name, self.times = name, 0
    def _noted(self, what):
        self.times += 1
        LOG.append(what)
        return f"{self.name}.{what}.{self.times}"
    def __str__(self): return self._noted("str")
    def __repr__(self): return self._noted("repr")
    def __format__(self, spec): return self._noted("format")
    def __getitem__(self, key): return self._noted("item")
    def __len__(self): self._noted("len"); return self.times
    def __bool__(self): self._noted("bool"); return self.times % 2 == 0
    def __eq__(self, other): self._noted("eq"); return self.times % 2 == 0
    def __lt__(self, other): self._noted("lt"); return self.times % 2 == 0
    def __hash__(self): LOG.append("hash"); return 1
    def __add__(self, other): return self._noted("add")
    def __radd__(self, other): return self._noted("radd")
    def strip(self): return self._noted("strip")
    def get(self, *args): return self._noted("get")
    def append(self, value): self._noted("append")
    def __iter__(self): self._noted("iter"); return iter(["x", "y"])
    @property
    def text(self): return self._noted("text")

class Text2(str):
    def __str__(self): LOG.append("str"); return "changed"
    def strip(self): LOG.append("strip"); return "stripped"

class Meta(type):
    def __hash__(cls): LOG.append("hash of the type"); return 1
    def __eq__(cls, other): LOG.append("eq of the type"); return False

class Odd(metaclass=Meta):
    def __repr__(self): LOG.append("repr of odd"); return "odd"

spy, odd = Spy("spy"), Odd()
chunks = ["aa", "b", "", "dd fail", "eee"]
nums = [3, 1, 2, 1]
rows = [{"id": n, "text": f"t{n}", "tags": ["u", n]} for n in range(4)]
twice = [rows[0], rows[1], rows[0], rows[2]]
mixed = ["s", 1, None, 2.5, ("t", 1), ["n"], {"k": "v"}, True, b"by", spy, Text2("own"), odd]
grid = [["a", "b"], ["c"], [], ["d", "e"]]
out, d, seen = [], {}, set()
alias, nested, holder = out, [out, chunks], {"out": out, "d": d}
state = {"n": 0, "last": "", "log": []}
counter, prev, total = 0, "", 0
key = "text"
def f_pure(c, n=2):
    '''A prompt.'''
    head = f"<{n}> "
    if n > 5:
        return head
    head += str(c)
    return head
def f_global(c): return f"{counter} {prev} {c}"
def f_reads(c): return f"{len(out)} {sorted(d)} {c}"
def f_impure(c):
    LOG.append("impure")
    state["n"] += 1
    return f"{state['n']} {c}"
def f_raises(c): return f"{10 // (len(str(c)) - 2)} {c}"
def f_default(c, into=[]):
    into.append(str(c)[:3])
    return f"{into}"
def gen():
    for c in chunks:
        LOG.append("gen")
        yield c
def outer(k):
    def inner(c): return f"{k}:{c}"
    return inner
closure = outer("k")
lam = lambda c, q="q": f"{q} {c}"
it = iter(["i", "j", "k"])
"""


def words(text: str) -> list[str]:
    return text.split()


ITERABLES = st.sampled_from(
    words(
        """
        chunks nums rows twice mixed grid range(4) range(1,9,3) enumerate(chunks) zip(chunks,nums)
        zip(chunks,chunks[1:]) gen() it d.items() state.items() rows[0].items() rows[1] nested holder.values() spy
        out alias reversed(chunks) sorted(chunks) sorted(nums,reverse=True) set(nums) list(gen()) map(str,nums)
        map(f_pure,chunks) map(f_impure,chunks) 'abc' (c+'!'for(c)in(chunks)) [f_pure(n)for(n)in(nums)] chunks*3
        list(chunks) filter(None,chunks) [] chunks[:1] 7 enumerate(gen()) enumerate(sorted(nums)) zip(it,chunks)
        chunks[2:] state['log'] twice[::-1] tuple(rows)
        """
    )
)
NAMES = st.sampled_from(
    words(
        """
        c i p q r out d seen alias nested holder spy odd state counter prev total chunks nums rows mixed key LOG
        state['last'] rows[0]['text'] 'lit' 3 None missing len(out) len(d) d.get(i) chunks[0] (c,i) [c,c] {'a':c}
        """
    )
)
WRAPPERS = st.sampled_from(
    [
        "str({})",
        "len({})",
        "f'{{{}}}'",
        "f'{{{}!r:>9}}'",
        "f'{{{0}}}-{{{0}}}'",
        "{}[0]",
        "{}['text']",
        "{}.get('text', '-')",
        "{}.strip()",
        "{}.upper().split()",
        "{}[:2]",
        "f_pure({})",
        "f_pure({}, n=7)",
        "f_global({})",
        "f_reads({})",
        "f_impure({})",
        "f_raises({})",
        "f_default({})",
        "closure({})",
        "lam({}, q='Q')",
        "json.dumps({})",
        "'%s' % ({},)",
        "'<{{}}>'.format({})",
        "'<{{0[text]}}>'.format({})",
        "', '.join(map(str, {}))",
        "' '.join(x for x in {} if x)",
        "sorted({})",
        "sorted({}, key=lambda x: str(x))",
        "max({}, default=0)",
        "[str(x) for x in {}]",
        "({}) * 2",
        "not {}",
        "-{}",
        "{}.text",
        "next({})",
        "list({})",
        "isinstance({}, str)",
        "{} is None",
        "(lambda y: f'{{y}}!')({})",
        "out.append({})",
        "print({})",
    ]
)
JOINS = st.sampled_from(
    [
        "{} + {}",
        "{} == {}",
        "{} in {}",
        "{} if {} else 'no'",
        "{} or {}",
        "f'{{{}}} {{{}}}'",
        "{}[{}]",
        "{} < {}",
        "[{}, {}]",
        "{} % {}",
    ]
)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(NAMES)
    if draw(st.integers(0, 2)) == 0:
        return draw(JOINS).format(draw(expressions(depth - 1)), draw(expressions(depth - 1)))
    inner = draw(expressions(depth - 1))
    return draw(WRAPPERS).format(inner)


# A loop that runs to its end is worth more than one that fails in its first line.
PROMPTS = st.one_of(
    st.sampled_from(["c", "f'p {c}'", "f'p {i} {c}'", "f_pure(c)", "str(c)", "f'{p}'", "p", "f'{counter} {c}'"]),
    expressions().map(lambda e: f"str({e})"),
    expressions().map(lambda e: f"f'p {{{e}}}'" if "'" not in e else f"str({e})"),
    expressions(),
)
SCHEMAS = [", schema={'a': list[int]}", ", schema=int | None"]
OPTIONS = st.sampled_from(
    ["", "", "", "", ", temperature=0.5", ", model=key", ", max_tokens=i", ", strict=True", ", x=1", *SCHEMAS]
)


def not_of(expression: str, names: str) -> bool:
    """What is made of itself, and of several of itself, grows without end."""
    return not set(names.split()) & set(re.findall(r"\w+", expression))


@st.composite
def calls(draw: st.DrawFn) -> str:
    form = draw(st.sampled_from(["llm_query({}{})"] * 8 + ["llm_query(prompt={}{})", "llm_query(*[{}]{})"]))
    return form.format(draw(PROMPTS), draw(OPTIONS))


SIMPLE = st.one_of(
    st.sampled_from(
        [
            "counter += 1",
            "total += len(str(c))",
            "state['n'] += 1",
            "prev = c",
            "prev = r",
            "prev += 'x'",
            "print(c)",
            "print(i, len(out))",
            "f_impure(c)",
            "seen.add(str(c))",
            "d[i] = c",
            "d[str(c)] = i",
            "c['s'] = i",
            "c['text'] = 'new'",
            "state['log'].append(c)",
            "d.setdefault(i, []).append(c)",
            "rows[0]['text'] = 'changed'",
            "spy.append(c)",
            "alias.append(c)",
            "row = {'c': c}\nrow['r'] = r\nout.append(row)",
            "same = chunks\nsame = same + ['z']",
            "copy = out\ncopy.append(i)",
            "copy = rows[1]\ncopy['text'] = str(i)",
            "c = str(c).strip()",
            "p = f'{i} {c}'",
            "p = f'{r} {c}'",
            "p = p + 'x'",
            "q = r",
            "p, q = str(c), i",
            "out += [c]",
            "del p",
            "break",
            "continue",
            "pass",
        ]
    ),
    expressions().filter(lambda e: not_of(e, "p q r prev")).map(lambda e: f"p = {e}"),
    expressions().filter(lambda e: not_of(e, "p q r prev")).map(lambda e: f"q = {e}"),
    expressions()
    .filter(lambda e: not_of(e, "out alias nested holder LOG print p q"))
    .map(lambda e: f"out.append({e})"),
    expressions().map(lambda e: f"print({e})"),
)


def indented(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


@st.composite
def statements(draw: st.DrawFn) -> str:
    statement = draw(SIMPLE)
    if draw(st.integers(0, 4)) == 0:
        test = draw(
            st.one_of(expressions(1), st.sampled_from(["i % 2", "'b' in str(c)", "r", "p == q", "len(out) > 2"]))
        )
        statement = f"if {test}:\n{indented(statement)}"
        if draw(st.booleans()):
            statement += f"\nelse:\n{indented(draw(SIMPLE))}"
    return statement


ASKING = [
    "r = {}",
    "r = {}",
    "out.append({})",
    "out.append({})",
    "d[i] = {}",
    "out.append((c, {}))",
    "if 'b' in str({}):\n    out.append(c)",
    "r = str({}).upper()",
    "if i % 2:\n    r = {}",
    "if 'b' in str(c):\n    out.append({})\nelse:\n    out.append(None)",
    "c['r'] = {}",
    "r = {} or 'none'",
    "r = {} if i else ''",
    "for n in range(2):\n    out.append({})",
    "for c in str(c):\n    out.append({})",
    "try:\n    r = {}\nexcept ZeroDivisionError:\n    r = None",
    "r = [{} for j in range(2)]",
    "prev = prev + str({})",
    "d[{}] = c",
    "for line in str({}).split():\n    out.append(line)",
]


@st.composite
def loops(draw: st.DrawFn) -> str:
    before = draw(st.lists(statements(), max_size=3))
    after = draw(st.lists(statements(), max_size=2))
    asking = draw(st.sampled_from(ASKING)).format(draw(calls()))
    body = "\n".join([*before, asking, *after])
    iterable = draw(ITERABLES)
    return f"for {draw(targets(iterable))} in {iterable}:\n{indented(body)}"


@st.composite
def targets(draw: st.DrawFn, iterable: str) -> str:
    pairs = any(word in iterable for word in ("enumerate", "zip", "items"))
    return draw(st.sampled_from(["i, c"] * 8 + ["c"] if pairs else ["c"] * 8 + ["i, c"]))


@st.composite
def comprehensions(draw: st.DrawFn) -> str:
    form = draw(
        st.sampled_from(
            [
                "[{} for {} in {}{}]",
                "[{} for {} in {}{}]",
                "{{i: {} for {} in {}{}}}",
                "{{{} for {} in {}{}}}",
                "list({} for {} in {}{})",
                "', '.join({} for {} in {}{})",
                "any({} for {} in {}{})",
                "sorted(({} for {} in {}{}), key=str)",
                "[c for _ in [0] for {1} in {2}{3} if 'b' in str({0})]",
            ]
        )
    )
    iterable = draw(ITERABLES)
    more = draw(st.sampled_from(["", "", " if c", " if i", " for q in range(2)", " for q in c", " if f_impure(c)"]))
    wrap = draw(st.sampled_from(["{}", "{}", "({}, c)", "str({})", "{} or c", "f_impure({})", "{} if c else c"]))
    return "r = " + form.format(wrap.format(draw(calls())), draw(targets(iterable)), iterable, more)


@st.composite
def programs(draw: st.DrawFn) -> str:
    code = draw(st.one_of(loops(), loops(), comprehensions()))
    frame = draw(st.sampled_from(["{}", "{}", "{}", "function", "method", "guarded", "again"]))
    if frame == "function":
        head = "i, p, q, r = 0, 'p', 1, ''\nglobal counter, prev\ntotal = 0\n"
        return f"i = 0\ndef go(key, out):\n{indented(head + code)}\n    return p, q, r, total\nleft = go('fn', out)"
    if frame == "method":
        return f"i = 0\nclass A:\n    i, p, q, r = 0, 'p', 1, ''\n{indented(code)}"
    if frame == "guarded":
        return f"i, p, q, r = 0, 'p', 1, ''\ntry:\n{indented(code)}\nexcept Exception as e:\n    print(type(e), e)"
    # A loop over what it fills ends only if that is empty when it begins.
    if frame == "again" and not any(f"in {name}" in code for name in ("out", "alias", "state", "nested", "holder")):
        return f"i, p, q, r = 0, 'p', 1, ''\nfor again in range(2):\n{indented(code)}"
    return f"i, p, q, r = 0, 'p', 1, ''\n{code}"


def check(code: str, width: int) -> tuple[Outcome, Outcome]:
    fast, slow = run(WORLD, code, width=width), run(WORLD, code, ahead=False)
    for outcome in (fast, slow):
        # What is left in an iterator is part of what a cell leaves behind.
        outcome.values["it"] = list(outcome.namespace["it"])
    assert fast == slow, code
    sent = iter(fast.bridge.sent)
    assert all(any(prompt == each for each in sent) for prompt in fast.asked), code
    return fast, slow


def parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(code=programs().filter(parses), width=st.sampled_from([2, 3, 4, 256]))
def test_a_cell_leaves_the_same_behind(code, width):
    check(code, width)
