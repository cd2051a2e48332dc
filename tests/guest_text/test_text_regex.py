"""Regular expressions over a `Text`, by its methods and by the guest's `re`, against the standard `re`."""

from __future__ import annotations

import builtins
import pickle
import re

import pytest
from guest import textre
from guest.text import Text
from guest.textscan import bytes_pattern
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

ours = textre.module
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
ASCII = st.text("aabB1 _-#]\r\n\t\x1c\x1f\x0b", max_size=50)
WIDE = st.text("aabBé😀\u017f\u212a\ufffd \n\r\u2028\x1c", max_size=50)

ATOMS = st.sampled_from(
    [
        r"\s",
        r"\S",
        r"\w",
        r"\W",
        r"\d",
        r"\b",
        r"\B",
        r"a",
        r"b",
        r"B",
        r".",
        r"^",
        r"$",
        r"\A",
        r"\Z",
        r"[\s\d]",
        r"[^\S]",
        r"[^\s_]",
        r"[]a]",
        r"[^]\S]",
        r"\]",
        r"[\]\s]",
        r"é",
        r"[^a]",
        r"\\",
        r"(a)",
        r"(?P<n>b|1)",
        r"(?:ab)",
        r"(?=\s)",
        r"#",
        r"(?<=a)",
        r"(?<!\s)",
        r"(x)?",
        r"k",
        r"s",
        " ",
    ]
)
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "{1,2}"])
FLAGS = st.sampled_from([0, re.I, re.M, re.S, re.A, re.X, re.I | re.A, re.X | re.M])


@st.composite
def patterns(draw):
    pieces = draw(st.lists(st.tuples(ATOMS, REPEATS), min_size=1, max_size=4))
    joint = draw(st.sampled_from(["", "|"]))
    source = joint.join(atom + repeat for atom, repeat in pieces)
    try:
        return re.compile(source, draw(FLAGS))
    except re.error:
        return re.compile(r"\s?")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("regex") / "file"


def told(match):
    if match is None:
        return None
    spans = [match.span(i) for i in range(match.re.groups + 1)]
    values = [match.group(i) for i in range(match.re.groups + 1)]
    return (
        spans,
        values,
        match.groups(),
        match.groupdict(),
        match.lastindex,
        match.lastgroup,
        match.start(),
        match.end(),
    )


def opened(path, plain: str, stride: int) -> Text:
    path.write_bytes(plain.encode())
    return Text.open(str(path), block=4, stride=stride, str_max=4)


@quick
@given(plain=ASCII | WIDE, pattern=patterns(), stride=st.integers(1, 9), a=st.integers(0, 60), b=st.integers(0, 60))
@example(plain="hi", pattern=re.compile(r"\b|\w+"), stride=1, a=0, b=9)
@example(plain="aé\n", pattern=re.compile("$"), stride=1, a=0, b=9)
def test_every_function(path, plain, pattern, stride, a, b):
    a = min(a, b)  # the other way round, re contradicts its own documentation
    text = opened(path, plain, stride)
    for name in ("search", "match", "fullmatch"):
        assert told(getattr(text, name)(pattern)) == told(getattr(pattern, name)(plain))
        assert told(getattr(text, name)(pattern, a, b)) == told(getattr(pattern, name)(plain, a, b)), name
        assert told(getattr(ours, name)(pattern, text)) == told(getattr(re, name)(pattern, plain))
    assert list(map(told, text.finditer(pattern))) == list(map(told, pattern.finditer(plain)))
    assert list(map(told, text.finditer(pattern, a, b))) == list(map(told, pattern.finditer(plain, a, b)))
    assert ours.findall(pattern, text) == re.findall(pattern, plain)
    assert ours.split(pattern, text) == re.split(pattern, plain)
    assert ours.split(pattern, text, 2) == re.split(pattern, plain, maxsplit=2)
    assert ours.subn(pattern, r"<\g<0>é\\>", text) == re.subn(pattern, r"<\g<0>é\\>", plain)
    assert ours.sub(pattern, lambda m: m[0] * 2, text, 1) == re.sub(pattern, lambda m: m[0] * 2, plain, count=1)
    if text and a < len(plain):
        assert ours.findall(pattern, text[a:]) == re.findall(pattern, plain[a:])


@quick
@given(plain=st.lists(WIDE, max_size=20).map("".join), pattern=patterns(), stride=st.integers(1, 50))
def test_windows_find_every_match_that_is_not_too_long(path, plain, pattern, stride):
    text = opened(path, "é" + plain, stride)
    wanted = list(pattern.finditer(str(text)))
    assume(all(len(match[0]) < 40 for match in wanted))
    try:
        found = list(text.finditer(pattern, max_match=40))
        first = text.search(pattern, 50, max_match=40)
    except UserWarning:
        reject()
    assert list(map(told, found)) == list(map(told, wanted))
    assert told(first) == told(pattern.search(str(text), 50))


@quick
@given(plain=ASCII, pattern=patterns())
def test_ascii_in_bytes_is_ascii_as_text(plain, pattern):
    in_bytes = bytes_pattern(pattern)
    if in_bytes is not None:
        spans = [match.span() for match in pattern.finditer(plain)]
        assert [match.span() for match in in_bytes.finditer(plain.encode())] == spans
    assert in_bytes is not None or not pattern.pattern.isascii()


@pytest.mark.parametrize("plain", ["key=value; other=x", "kéy=välue; öther=x"])
def test_matches_expand(path, plain):
    text = opened(path, plain, 4)
    pattern = r"(?P<key>\w+)=(\w+)(!)?"
    match, wanted = text.search(pattern), re.search(pattern, plain)
    assert match is not None
    assert wanted is not None
    for template in (r"\2-\g<key>\n\g<0>", r"\3|\1", "é"):
        assert match.expand(template) == wanted.expand(template)
    assert match["key"] == wanted["key"]
    assert match.group(1, "key") == wanted.group(1, "key")
    assert repr(match).startswith("<TextMatch span=(0, 9)")
    with pytest.raises(IndexError):
        match["nope"]


@pytest.mark.parametrize("source", [r"(?a:\s)", r"(?x: \s )", r"\N{BULLET}", "é", r"(?-x:#\s)", r"(?u)\s"])
def test_what_bytes_cannot_say_is_searched_as_text(path, source):
    text = opened(path, "# \x1c x", 3)
    assert bytes_pattern(re.compile(source)) is None
    assert text.findall(source) == re.findall(source, str(text))


def test_a_verbose_pattern_with_a_bracket_in_its_comment(path):
    pattern = re.compile("x # [ not a class\n \\s", re.X)
    assert bytes_pattern(pattern) is not None
    assert opened(path, "ax\x1cb", 3).findall(pattern) == ["x\x1c"]


def test_a_match_that_is_too_long_is_cut_and_says_so(path):
    text = opened(path, "é" + "a" * 500, 50)
    with pytest.warns(UserWarning, match="cut after 100"):
        found = text.search("a+", max_match=100)
    assert found is not None
    assert 100 <= len(found[0]) < 500
    assert text.search("a+", max_match=500)[0] == "a" * 500  # type: ignore[index]
    assert Text.open(str(path), 2).search("a+", max_match=1)[0] == "a" * 500  # type: ignore[index]


def test_for_str_it_is_the_standard_module():
    assert ours.search("b", "abc").span() == (1, 2)
    assert isinstance(ours.search("b", "abc"), re.Match)
    assert ours.compile("b", ours.I).sub("x", "aBc", count=1) == "axc"
    assert ours.compile("b").search("abcb", pos=2).start() == 3
    assert ours.compile(b"b").search(b"abc").start() == 1
    assert ours.compile(re.compile("b")).split("abc") == ["a", "c"]
    assert ours.findall("b", "BB", flags=ours.IGNORECASE) == ["B", "B"]
    assert ours.escape("a.b") == re.escape("a.b")
    assert ours.compile("b") == ours.compile("b")
    assert pickle.loads(pickle.dumps(ours.compile("b", re.I))).findall("B") == ["B"]
    with pytest.raises(ours.error):
        ours.compile("(")
    with pytest.raises(ValueError, match="flags"):
        ours.search(ours.compile("b"), "b", ours.I)


def test_a_cell_that_imports_re_gets_ours_and_a_library_does_not():
    cell: dict[str, object] = {"__name__": "__main__"}
    library: dict[str, object] = {"__name__": "library"}
    hooked = textre.import_for_cells(builtins.__import__, is_cell=lambda scope: scope.get("__name__") == "__main__")
    names = {"__builtins__": {**vars(builtins), "__import__": hooked}}
    cell |= names
    library |= names
    exec("import re\nfrom re import search\nimport json.decoder as d", cell)
    exec("import re", library)
    assert cell["re"] is ours
    assert cell["search"] is ours.search
    assert library["re"] is re
