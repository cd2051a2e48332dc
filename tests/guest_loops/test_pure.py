"""The evaluator gives what Python gives, or says that it does not know; and nothing ever notices it."""

from __future__ import annotations

import ast
import json
import time
import warnings
from collections import defaultdict
from typing import Any

import pytest
from guest.files import Entry, Files
from guest.pure import Evaluator
from guest.purevalues import Caution, Doubtful, Lazy, Scope
from guest.results import CallError, CallResult
from guest.text import Text
from hypothesis import HealthCheck, given, settings

from tests.guest_loops.cells import plain, run
from tests.guest_loops.test_same_outcome import WORLD, expressions, parses


def evaluate(
    expression: str, names: dict[str, Any], *, changing: Any = None, hidden: frozenset[str] = frozenset()
) -> Any:
    def look(name: str) -> Any:
        try:
            return names[name] if name in names else getattr(__import__("builtins"), name)
        except AttributeError:
            raise NameError(name) from None

    caution = Caution()
    if changing is not None:
        caution.change(changing)
    node = ast.parse(expression, mode="eval").body
    value = Evaluator(caution, hidden).value(node, Scope({}, look))
    return list(value.items) if isinstance(value, Lazy) else value


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(expression=expressions(3).filter(parses))
def test_expressions_over_hostile_values(expression):
    names = run(WORLD, "c, i, p, q, r = 'aa', 0, 'p', 1, ''", ahead=False).namespace
    before = plain(names, set())
    try:
        value = evaluate(expression, names)
    except Exception:
        assert plain(names, set()) == before
        return
    assert plain(names, set()) == before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        assert plain(value, set()) == plain(eval(expression, names), set())


ROWS = [{"id": 1, "text": "one two"}, {"id": 2, "text": "three"}]
NAMES = {"rows": ROWS, "words": ["b", "a", "c"], "n": 3, "s": "some text", "json": json, "d": {"k": [1, 2]}}


@pytest.mark.parametrize(
    "expression",
    [
        "f'{s!r:>20} {n:03d} {rows[0][\"id\"]}'",
        "'%s and %5.2f' % (s, n)",
        "'{0} {x[text]} {1:>4}'.format(s, n, x=rows[0])",
        "', '.join(r['text'] for r in rows if r['id'] > 1)",
        "json.dumps(rows, indent=2, sort_keys=True)",
        "json.loads('{\"a\": [1]}')['a']",
        "sorted(words, reverse=True) + [w.upper() for w in words]",
        "[r['id'] for r in sorted(rows, key=lambda r: len(r['text']))]",
        "max(rows, key=lambda r: r['id'])['text'].split()",
        "{w: i for i, w in enumerate(words)} | {'z': 1}",
        "list(zip(words, range(3), reversed(words)))",
        "s[2:6] + s[-1] + s[::2]",
        "d.get('k', [])[0] if 'k' in d and not n == 2 else None",
        "sum(len(r['text']) for r in rows) // n ** 2 - -1",
        "any(w > 'b' for w in words), all(words), min(3, n), 1 < n <= 3 < 2",
        "str({'a': (1, None, True, 2.5, b'x')}) * 2",
        "(lambda a, b: a + b)('x', b='y')",
        "list(map(str, filter(None, [0, 1, '', 'x'])))",
        "isinstance(s, (str, int)), s is None, n is not None",
        "'  a-b '.strip().replace('-', '+').partition('+')",
        "[x for row in [[1, 2], [3]] for x in row if x != 2]",
        "round(2.567, 1), abs(-3), divmod(7, 2), int('12') + float('1.5'), chr(97)",
        "{1, 2} & {2, 3}, (1, 2) + (3,), [0] * 2",
        "not s or n and s",
    ],
)
def test_what_is_known_is_computed(expression):
    assert evaluate(expression, NAMES) == eval(expression, dict(NAMES))


@pytest.mark.parametrize(
    "expression",
    [
        "print('x')",
        "open('/etc/passwd').read()",
        "input()",
        "words.append('x')",
        "words.pop()",
        "d.setdefault('x', 1)",
        "__import__('os').getcwd()",
        "(y := 3)",
        "[*words]",
        "max(*words)",
        "dict(**d)",
        "getattr(s, 'upper')()",
        "s.__class__",
        "'{0.__class__}'.format(s)",
        "json.JSONEncoder",
        "json.dumps(s, default=lambda x: 1)",
        "iter(words)",
        "hash(s)",
        "id(s)",
        "s is words[0]",
        "2 ** 100000",
        "'x' * 10 ** 9",
        "[0] * 10 ** 9",
        "f'{n:>{10 ** 9}}'",
        "f'{n:1000000000}'",
        "'%1000000000d' % n",
        "'%*d' % (10 ** 9, n)",
        "'{:1000000000}'.format(n)",
        "'{:{}}'.format(n, 10 ** 9)",
        "'x'.ljust(10 ** 9)",
        "('a' * 10 ** 6).replace('a', 'b' * 10 ** 6)",
        "list(range(10 ** 9))",
        "sum(x for x in range(10 ** 9))",
        "range(10 ** 9)[5:] == range(10 ** 9) and [x for x in range(10 ** 7)]",
        "round(5, -10 ** 9)",
        "json.dumps([[[]]], indent=10 ** 9)",
        "[[x] * 10 ** 6 for x in range(100)]",
        "(lambda f: f(f))(lambda f: f(f))",
    ],
)
def test_what_is_not_known_or_is_endless_is_refused_at_once(expression):
    before = repr(NAMES)
    began = time.monotonic()
    with pytest.raises(Doubtful):
        evaluate(expression, NAMES)
    assert time.monotonic() - began < 2
    assert repr(NAMES) == before


@pytest.mark.parametrize(
    "expression",
    [
        "str({})",
        "f'{{{}}}'",
        "f'{{[{}]!r}}'",
        "not {}",
        "{} or 1",
        "1 if {} else 2",
        "{} == 1",
        "[{}] == [1]",
        "1 in [{}]",
        "{} in [1]",
        "sorted([{0}, {0}])",
        "max({}, 'x')",
        "{{{}: 1}}",
        "{{{}}}",
        "set([{}])",
        "{{'k': 1}}.get({})",
        "{{'k': 1}}[{}]",
        "{}[0]",
        "len({})",
        "list({})",
        "{}.text",
        "{}.strip()",
        "{} + 'x'",
        "'x' + {}",
        "', '.join([{}])",
        "'%s' % {}",
        "'{{}}'.format({})",
        "json.dumps([{}])",
        "any([{}])",
        "list(filter(None, [{}]))",
        "isinstance({}, str)",
        "sum([{}])",
        "int({})",
        "chunks.index({})",
        "(lambda x: x)({}) == 1",
        "keyed[1]",
        "keyed.get(1)",
        "1 in keyed",
    ],
)
@pytest.mark.parametrize("name", ["spy", "own", "odd"])
def test_objects_of_the_cell_notice_nothing(expression, name):
    names = run(WORLD, "own = Text2('own')\nkeyed = {spy: 1, odd: 1}\nLOG.clear()", ahead=False).namespace
    with pytest.raises(Doubtful):
        evaluate(expression.format(name), names)
    assert names["LOG"] == []


def test_a_mapping_is_not_asked_for_what_it_would_make():
    names = {"d": defaultdict(list, {"a": [1]})}
    assert evaluate("d['a'], d.get('b'), list(d.items())", names) == ([1], None, [("a", [1])])
    with pytest.raises(Doubtful):
        evaluate("d['b']", names)
    assert list(names["d"]) == ["a"]


def test_large_numbers_and_texts_are_not_computed_with():
    names = {"n": 10**4000, "s": "a " * 5_000_000}
    for expression in ("n * n", "n + 1", "s.split()", "len(s + s + s + s)"):
        with pytest.raises(Doubtful):
            evaluate(expression, names)


def test_what_holds_itself_has_an_end():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Doubtful):
        evaluate("str(x)", {"x": loop})


@pytest.mark.parametrize(
    "expression",
    [
        "len(x)",
        "x[0]",
        "str([x])",
        "f'{holder}'",
        "holder[0]",
        "'a' in x",
        "[y for y in x]",
        "sorted(holder)",
        "x == []",
    ],
)
def test_what_the_loop_changes_is_not_read(expression):
    x = ["a"]
    names = {"x": x, "holder": [x]}
    evaluate(expression, names)
    with pytest.raises(Doubtful):
        evaluate(expression, names, changing=x)


def test_iterators_of_others_are_not_taken_from():
    for made in (iter([1, 2]), enumerate("ab"), (n for n in range(2)), zip("a", "b", strict=True), map(str, [1])):
        with pytest.raises(Doubtful):
            evaluate("list(x)", {"x": made})
        assert len(list(made)) in (1, 2)


def test_results_of_calls_are_strings_and_errors_are_not():
    result = CallResult.make({"text": "yes", "model": "m", "input_tokens": 1})
    error = CallError("timeout", "too late")
    names = {"r": result, "e": error, "CallError": CallError}
    assert evaluate("f'{r}!' + r.upper() + r", names) == "yes!YESyes"
    assert evaluate("r.model, r.usage['input_tokens'], e.kind, not e", names) == ("m", 1, "timeout", True)
    assert evaluate("[isinstance(x, CallError) for x in (r, e)]", names) == [False, True]
    with pytest.raises(Doubtful):
        evaluate("f'{e}'", names)


def test_our_own_texts_and_files_are_read(tmp_path):
    path = tmp_path / "f"
    path.write_text("ab é " * 10)
    text = Text.open(str(path))
    files = Files({"f": Entry(str(path), 60)}, str_max=1000)
    names = {"t": text, "fs": files}
    for expression in (
        "len(t)",
        "t[2:7]",
        "list(t.chunks(8))",
        "t.find('é')",
        "fs['f'][:3]",
        "fs.paths()",
        "'f' in fs",
    ):
        assert evaluate(expression, names) == eval(expression, dict(names))
    assert evaluate("[(k, v[:2]) for k, v in fs.items()]", names) == [("f", "ab")]
    with pytest.raises(Doubtful):
        evaluate("fs.grep('a')", names)


FUNCTIONS = """
factor = 3
def plainly(c, *, n=2):
    '''Doc.'''
    if n > 2:
        return f'{c}!'
    text = c
    text += '?'
    a, b = text, n
    return a * b + str(factor)
def falls(c):
    pass
def loops(c):
    for x in c:
        return x
def changes(c):
    global factor
    factor = 4
def gathers(*c): return c
def fills(c, into=[]):
    into += [c]
    return str(into)
def early(c):
    if c:
        late = 1
    return late
def decorate(f): return f
@decorate
def decorated(c): return c
def generates(c):
    return c
    yield c
def endless(c): return endless(c)
two = lambda c: c, lambda c: c + 'x'
one = lambda c: c + 'one'
"""


@pytest.fixture
def functions() -> dict[str, Any]:
    return run(FUNCTIONS, ahead=False).namespace


@pytest.mark.parametrize("call", ["plainly('x')", "plainly(c='y', n=4)", "falls(1)", "one('x')", "early(1)"])
def test_small_functions_of_cells_are_interpreted(functions, call):
    assert evaluate(call, functions) == eval(call, functions)


@pytest.mark.parametrize(
    "call",
    [
        "loops('x')",
        "changes(1)",
        "gathers(1)",
        "fills('x')",
        "early(0)",
        "decorated('x')",
        "generates('x')",
        "endless(1)",
        "two[0]('x')",
        "plainly('x', 'y')",
        "evaluate('1', {})",
    ],
)
def test_other_functions_are_not(functions, call):
    names = {**functions, "evaluate": evaluate}
    with pytest.raises(Doubtful):
        evaluate(call, names)
    assert functions["factor"] == 3
    assert functions["fills"].__defaults__ == ([],)


def test_a_function_reads_nothing_that_changes(functions):
    assert evaluate("plainly('x')", functions) == "x?x?3"
    with pytest.raises(Doubtful):
        evaluate("plainly('x')", functions, hidden=frozenset({"factor"}))
