"""`Text` against the `str` that it stands for, with windows so small that every boundary is crossed."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc

import pytest
from guest.text import Text
from guest.textsource import Source
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ALPHABETS = [
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("aab\n\r é\u2028😀\x1c", max_size=60).map(str.encode),
    st.text("ab \r\n\x1f\x0b", max_size=60).map(str.encode),
    st.lists(st.sampled_from([b"a", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xc3\xa9", b"\r", b"\n"])).map(b"".join),
]
RAW = st.one_of(*ALPHABETS)
SMALL = {"block": 4, "stride": 3, "str_max": 5}
AT = st.none() | st.integers(-70, 70)
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "file"


def both(path, raw: bytes) -> tuple[Text, str]:
    path.write_bytes(raw)
    return Text.open(str(path), **SMALL), raw.decode("utf-8", "replace")


def whole(value: object) -> object:
    return str(value) if isinstance(value, Text) else value


@quick
@given(raw=RAW, a=AT, b=AT, c=AT, d=AT, step=st.integers(-4, 4).filter(bool))
@example(raw=b"\xe2\x82\xe2\x82\xac", a=1, b=None, c=None, d=None, step=-1)
def test_slices(path, raw, a, b, c, d, step):
    text, plain = both(path, raw)
    part = text[a:b]
    assert isinstance(part, str) == (len(plain[a:b]) <= SMALL["str_max"])
    assert str(part) == plain[a:b]
    assert len(part) == len(plain[a:b])
    assert whole(part[c:d]) == plain[a:b][c:d]
    assert text[a:b:step] == plain[a:b:step]
    assert part[c:d:step] == plain[a:b][c:d:step]
    if isinstance(part, Text):
        assert Text.open(**part.descriptor()) == plain[a:b]


@quick
@given(raw=RAW, other=st.text("ab", max_size=3))
def test_the_whole(path, raw, other):
    text, plain = both(path, raw)
    assert str(text) == plain == f"{text}"
    assert len(text) == len(plain)
    assert bool(text) == bool(plain)
    assert text == plain
    assert plain == text
    assert hash(text) == hash(plain)
    assert (text == other) == (plain == other)
    assert text != plain + "x"
    assert text == Text.open(str(path))
    assert list(text) == list(plain)
    assert [text[i] for i in range(len(plain))] == list(plain)
    assert [text[~i] for i in range(len(plain))] == [plain[~i] for i in range(len(plain))]
    assert text + other == plain + other
    assert other + text == other + plain
    assert text.splitlines() == plain.splitlines()
    assert text.splitlines(True) == plain.splitlines(True)
    assert text.split() == plain.split()
    assert text.split("a", 1) == plain.split("a", 1)
    for at in (len(plain), ~len(plain)):
        with pytest.raises(IndexError):
            text[at]


@quick
@given(raw=RAW, size=st.integers(1, 20), overlap=st.integers(0, 19))
def test_chunks(path, raw, size, overlap):
    text, plain = both(path, raw)
    if overlap >= size:
        with pytest.raises(ValueError, match="overlap"):
            text.chunks(size, overlap)
        return
    starts = [at for at in range(0, len(plain), size - overlap) if at == 0 or at + overlap < len(plain)]
    assert list(text.chunks(size, overlap)) == [plain[at : at + size] for at in starts]


@quick
@given(raw=RAW, sub=st.text("ab\né\ufffd😀\ud800", max_size=4), a=AT, b=AT, cut=AT, data=st.data())
def test_fixed_strings(path, raw, sub, a, b, cut, data):
    text, plain = both(path, raw)
    if plain and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(plain) - 1))
        sub = plain[at : at + 3]
    part = text[cut:]
    for view, told in ((text, plain), (part, plain[cut:])):
        assert (sub in view) == (sub in told)
        assert view.find(sub) == told.find(sub)
        for name in ("find", "rfind", "count", "startswith", "endswith"):
            assert getattr(view, name)(sub, a, b) == getattr(told, name)(sub, a, b), name
        assert view.startswith(("?", sub)) == told.startswith(("?", sub))
        for name in ("index", "rindex"):
            if told.find(sub, a, b) >= 0:
                assert getattr(view, name)(sub, a, b) == getattr(told, name)(sub, a, b)
            else:
                with pytest.raises(ValueError, match="not found"):
                    getattr(view, name)(sub, a, b)


def test_slices_of_slices_share_the_map_and_the_index(path):
    text, plain = both(path, "aé😀".encode() * 20)
    part = text[3:50]
    assert isinstance(part, Text)
    inner = part[7:40]
    assert isinstance(inner, Text)
    assert inner.source is text.source
    assert str(inner) == plain[3:50][7:40]


def test_a_missing_str_method_says_what_to_do(path):
    text, _ = both(path, b"abcdefgh")
    with pytest.raises(AttributeError, match=r"str\(text\[a:b\]\).lower"):
        text.lower()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        text.nonsense  # noqa: B018
    with pytest.raises(TypeError, match="descriptor"):
        pickle.dumps(text)
    assert copy.deepcopy([text])[0] is text
    with pytest.raises(TypeError, match="requires string"):
        assert 1 in text
    assert len(repr(Text.open(str(path)))) < 200


def test_an_empty_file(path):
    text, _ = both(path, b"")
    assert (str(text), len(text), list(text.lines()), text.find(""), text.count("")) == ("", 0, [], 0, 1)
    assert text == ""
    assert not text


def test_a_prefix_needs_no_index_of_the_rest(path):
    path.write_bytes(b"ascii " * (1 << 18) + "é".encode() * (1 << 20))
    text = Text.open(str(path))
    assert text[:5] == "ascii"
    assert text.find("ii a") == 3
    assert len(text.source._bytes) == 1
    assert text[6 << 18] == "é"
    assert len(text.source._bytes) < 20
    assert len(text) == (6 << 18) + (1 << 20)


def test_memory_stays_constant(path):
    path.write_bytes(("zeile mit ü\n" * 100).encode() * (1 << 14))
    tracemalloc.start()
    try:
        text = Text.open(str(path))
        assert len(text) == 12 * 100 << 14
        assert text.find("nicht da") == -1
        assert text.count("ü") == 100 << 14
        assert text.search("nicht da.") is None
        assert sum(1 for _ in text.lines()) == 100 << 14
        assert sum(map(len, text.chunks(10_000))) == len(text)
        assert str(text[10_000_000:10_000_020]) == ("zeile mit ü\n" * 3)[4:24]
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_a_range_of_a_file_that_cuts_characters(path):
    path.write_bytes("é😀é".encode())
    assert str(Source(str(path), 1, 7).decode(0, 6)) == "é😀é".encode()[1:7].decode("utf-8", "replace")
    assert Text.open(str(path), 1, 7) == "\ufffd😀\ufffd"
    assert Text.open(str(path), 5, 99) == "\ufffd" * 1 + "é"
    assert re.search("é", str(Text.open(str(path), 99))) is None
