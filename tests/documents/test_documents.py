"""Documents become text, in a process that is walled in, limited, and killed when its time is over."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import textwrap
import threading
import time
from pathlib import Path

import pytest

from rlm.citations import cite
from rlm.context import Value, keep
from rlm.context.paste import pasted
from rlm.documents import cage
from rlm.documents.parser import ParseFailed, Parser
from rlm.errors import InputError
from tests import needs
from tests.documents import samples

needs.module("markitdown")


def test_every_format_is_text_and_its_original_lies_beside(desk):
    samples.write_all(desk.folder)
    built = desk.build(*samples.MAKERS)
    assert built.prepared.notices == ()
    for name in samples.MAKERS:
        assert samples.PHRASE in built.context[name], name
        assert built.originals[name].read_bytes() == (desk.folder / name).read_bytes()
    assert "x()" not in built.context["a.html"]
    by_name = {each["name"]: each for each in built.prepared.manifest}
    assert by_name["a.pdf"]["type"] == "PDF"
    assert by_name["a.pdf"]["characters"] == len(built.context["a.pdf"])
    assert by_name["a.pdf"]["bytes"] == len(samples.pdf())


def test_one_document_is_context_itself_and_the_preview_says_so(desk):
    desk.write("report.pdf", samples.pdf())
    built = desk.build("report.pdf")
    assert built.context.strip() == samples.PHRASE
    assert "`context` is a str, from 'report.pdf': " in built.prepared.preview
    assert "converted from PDF; `originals['report.pdf']`" in built.prepared.preview
    assert samples.PHRASE in built.prepared.preview


def test_a_directorys_documents_are_text_and_its_sources_stay_as_they_are(desk):
    (desk.folder / "docs").mkdir()
    samples.write_all(desk.folder / "docs")
    desk.write("docs/sub/b.txt", "plain")
    built = desk.build("docs")
    files = built.context
    for name in ("a.pdf", "a.docx", "a.pptx", "a.xlsx", "a.epub", "a.msg"):
        assert samples.PHRASE in files[name]
    assert files["a.html"] == samples.html().decode()
    assert files["a.ipynb"] == samples.ipynb().decode()
    assert files["sub/b.txt"] == "plain"
    assert files.path("a.pdf").read_bytes() == samples.pdf()
    assert files.sizes["a.pdf"] == len(files["a.pdf"].encode())
    assert [hit.path for hit in files.grep("harbour", "*.pdf")] == ["a.pdf"]
    assert "6 documents are given as text; .path(p) is the original" in built.prepared.preview
    assert "'a.pdf' " in built.prepared.preview
    assert ", as text " in built.prepared.preview


def test_a_document_by_a_pipe_and_by_the_api_is_known_by_its_bytes_or_name(desk):
    assert samples.PHRASE in desk.build("-", stdin=io.BytesIO(samples.pdf())).context
    assert samples.PHRASE in desk.build("-", stdin=io.BytesIO(samples.docx())).context
    assert samples.PHRASE in desk.build(Value(samples.pdf(), name="x.pdf")).context
    assert isinstance(desk.build(Value(samples.pdf())).context, Path)


def test_what_cannot_be_converted_is_a_path_and_a_notice(desk):
    desk.write("docs/broken.pdf", b"%PDF-1.7\n\0\0 nothing of the kind")
    desk.write("docs/fine.docx", samples.docx())
    built = desk.build("docs")
    assert isinstance(built.context["broken.pdf"], Path)
    assert samples.PHRASE in built.context["fine.docx"]
    (notice,) = built.prepared.notices
    assert notice.startswith("docs/broken.pdf: cannot be converted to text: ")


def test_without_the_extra_the_notice_says_what_to_install(desk, monkeypatch):
    monkeypatch.setattr("rlm.documents.convert.available", lambda: None)
    desk.write("a.pdf", samples.pdf() + b"\0")
    built = desk.build("a.pdf")
    assert isinstance(built.context, Path)
    assert built.prepared.notices == (
        "a.pdf: is not converted to text: that needs the extra docs, pip install 'rlm-kernel[docs]'",
    )


def test_more_documents_than_allowed_stay_as_they_are(desk):
    for number in range(3):
        desk.write(f"docs/{number}.pdf", samples.pdf(f"number {number}") + b"\0")
    built = desk.build("docs", max_documents=2)
    assert [isinstance(value, str) for value in built.context.values()] == [True, True, False]
    assert built.prepared.notices == ("1 documents are not converted to text: --max-documents is 2",)
    built = desk.build("docs", max_documents=0)
    assert not built.prepared.notices
    assert all(isinstance(value, Path) for value in built.context.values())


def test_a_text_is_cached_by_content_private_and_whole(desk, monkeypatch):
    desk.write("a.pdf", samples.pdf())
    desk.write("b.pdf", samples.pdf())
    first = desk.build("a.pdf").context
    (text,) = desk.cache.glob("*.md")
    assert text.read_text() == first
    assert stat.S_IMODE(text.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.cache.stat().st_mode) == 0o700
    assert sorted(path.suffix for path in desk.cache.iterdir()) == [".json", ".md"]
    monkeypatch.setattr(Parser, "run", None)  # nothing is parsed again, whatever the file is called
    assert desk.build("b.pdf").context == first


def test_a_text_in_the_cache_that_was_cut_is_made_again(desk):
    desk.write("a.pdf", samples.pdf())
    first = desk.build("a.pdf").context
    (text,) = desk.cache.glob("*.md")
    text.write_text(first[:5])
    assert desk.build("a.pdf").context == first


def test_a_file_that_is_replaced_meanwhile_leaves_no_wrong_text_in_the_cache(desk, monkeypatch):
    path = desk.write("a.pdf", samples.pdf("the first"))
    real = Parser.run

    def run(self, *arguments, **options):
        path.write_bytes(samples.pdf("the other"))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Parser, "run", run)
    assert desk.build("a.pdf").context.strip() == "the first"
    monkeypatch.setattr(Parser, "run", real)
    assert desk.build("a.pdf").context.strip() == "the other"
    path.write_bytes(samples.pdf("the first"))
    assert desk.build("a.pdf").context.strip() == "the first"


def test_a_prepared_input_is_kept_with_its_texts_and_refuses_a_changed_original(desk):
    path = desk.write("a.pdf", samples.pdf())
    prepared = desk.build("a.pdf").prepared
    hashes = prepared.sha256()
    run = desk.folder.parent / "run1"
    keep.save(prepared, run / "input.json")
    moved = run.rename(desk.folder.parent / "moved")
    kept = keep.load(moved / "input.json")
    keep.check_unchanged(kept, hashes)
    assert Path(kept.items[0].parts[0].text).read_text(encoding="utf-8").strip() == samples.PHRASE
    assert kept.items[0].sha256() == hashes["a.pdf"]
    path.write_bytes(samples.pdf("changed!"))
    with pytest.raises(InputError, match="has changed"):
        keep.check_unchanged(kept, hashes)


def test_a_plain_call_gets_the_text_and_not_the_file(desk):
    desk.write("a.pdf", samples.pdf() + b"%" * 5000)
    prepared = desk.build("a.pdf").prepared
    ((name, text),) = pasted(prepared.items, 100) or [("", "")]
    assert (name, text.strip()) == ("a.pdf", samples.PHRASE)


def test_a_quotation_of_a_document_is_looked_up_in_its_text(desk):
    desk.write("docs/a.pdf", samples.pdf())
    desk.write("docs/b.txt", b"\xef\xbb\xbffirst\nsecond")
    built = desk.build("docs")
    answer = "<quote>harbour opens</quote> <quote>second</quote> <quote>%PDF-1.4</quote>"
    found, second, missing = cite(answer, built.prepared.items).citations
    assert (found.status, found.file) == ("found", "docs/a.pdf")
    assert built.context["a.pdf"][found.start : found.end] == "harbour opens"
    assert built.context["b.txt"][second.start : second.end] == "second"
    assert missing.status == "missing"


# --- the process that parses -----------------------------------------------------------------------

WORKER = f"""
import importlib.util, json, os, socket, sys, time
spec = importlib.util.spec_from_file_location("worker", {str(cage.WORKER)!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)


def hang(fd, request):
    while True:
        pass


def sleep(fd, request):
    time.sleep(60)


def eat(fd, request):
    return "x" * (3 << 30)


def much(fd, request):
    return "x" * 10_000_000


def crash(fd, request):
    os.kill(os.getpid(), 11)


def link(name):
    try:
        return os.readlink("/proc/self/fd/" + name)
    except OSError:
        return ""


def tell(fd, request):
    can = {{}}
    for name, attempt in {{
        "write": lambda: os.write(os.open("/tmp/x", os.O_WRONLY | os.O_CREAT), b"x"),
        "fork": os.fork,
        "network": lambda: socket.create_connection(("127.0.0.1", request["port"]), 1),
    }}.items():
        try:
            attempt()
            can[name] = "yes"
        except OSError as error:
            can[name] = type(error).__name__
    can["sockets"] = [name for name in os.listdir("/proc/self/fd") if "socket:" in link(name)]
    can["passwd"] = os.path.exists("/etc/passwd")
    can["environment"] = sorted(os.environ)
    return json.dumps(can)


jobs = {{each.__name__: each for each in (hang, sleep, eat, much, crash, tell)}}
worker.main(json.loads(sys.argv[1]), {{**worker.JOBS, **jobs}})
"""


@pytest.fixture(params=["walled", "plain"])
def parser(request, tmp_path, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr("rlm.documents.cage.shutil.which", lambda name: None)
    worker = tmp_path / "worker" / "worker.py"
    worker.parent.mkdir()
    worker.write_text(textwrap.dedent(WORKER))
    monkeypatch.setattr(cage, "_SYSTEM", (*cage._SYSTEM, str(cage.WORKER.parent)))
    with Parser(worker=worker, preload=False, memory=512 << 20) as parser:
        yield parser


def job(parser, name, *, seconds=10.0, **options):
    pieces: list[bytes] = []
    with open(os.devnull, "rb") as file:
        parser.run(name, file.fileno(), pieces.append, seconds=seconds, **options)
    return b"".join(pieces).decode()


def test_a_parser_that_hangs_is_killed_and_others_go_on(parser):
    job(parser, "much")
    for name in ("hang", "sleep"):
        began = time.monotonic()
        with pytest.raises(ParseFailed, match="takes too long"):
            job(parser, name, seconds=0.5)
        assert time.monotonic() - began < 3
    assert len(job(parser, "much")) == 10_000_000


def test_a_parser_that_wants_much_memory_or_crashes_fails_alone(parser):
    with pytest.raises(ParseFailed, match="memory"):
        job(parser, "eat")
    with pytest.raises(ParseFailed, match="crashed"):
        job(parser, "crash")
    assert len(job(parser, "much")) == 10_000_000


def test_several_are_parsed_at_the_same_time(parser):
    job(parser, "much")
    lengths = []
    threads = [threading.Thread(target=lambda: lengths.append(len(job(parser, "much")))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [10_000_000] * 6


def test_it_lives_on_when_the_thread_that_first_used_it_has_ended(parser):
    thread = threading.Thread(target=job, args=(parser, "much"))
    thread.start()
    thread.join()
    assert len(job(parser, "much")) == 10_000_000


def test_what_a_parser_can_do(parser, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        can = json.loads(job(parser, "tell", port=server.getsockname()[1]))
    assert "OPENAI_API_KEY" not in can["environment"]
    assert can["write"] != "yes"
    if os.getuid() != 0 or parser.walled:
        assert can["fork"] != "yes"
    assert can["network"] != "yes"
    assert can["sockets"] == []
    assert can["passwd"] is not parser.walled


@pytest.mark.slow
def test_a_docx_that_explodes_is_a_notice(desk):
    bomb = samples.docx("x" * 1000, repeated=100_000)
    assert len(bomb) < 1 << 20
    desk.write("bomb.docx", bomb)
    built = desk.build("bomb.docx", convert_timeout=2)
    assert isinstance(built.context, Path)
    assert built.prepared.notices[0].startswith("bomb.docx: cannot be converted to text: it")
