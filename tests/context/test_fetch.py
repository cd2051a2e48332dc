"""Inputs by URL, from real servers on loopback: 127.0.0.2 stands for the internet, 127.0.0.1 for what is private."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from guest import inputs as guest_inputs
from guest.files import Files

from rlm.context import address, fetch, keep
from rlm.errors import InputError

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"


class Site:
    """A server on both addresses; `pages` are by path: status, headers, body."""

    def __init__(self):
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                address_ = self.connection.getsockname()[0]
                site.asked.append((address_, self.path, dict(self.headers)))
                status, headers, body = site.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Silent."""

        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path, body, type_=None, status=200, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, {**headers, **({"Content-Type": type_} if type_ else {})}, body)
        return self.url(path)

    def url(self, path, host=PUBLIC):
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(address, "is_public", lambda each: each == PUBLIC)
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_a_page_is_fetched_once_and_spooled(desk, site):
    url = site.page("/notes.txt", "caf\u00e9".encode(), "text/plain; charset=utf-8")
    built = desk.build(url)
    assert built.context == "caf\u00e9"
    (item,) = built.prepared.manifest
    assert (item["name"], item["source"], item["type"]) == ("notes.txt", url, "text")
    assert all(mount.source.startswith(str(desk.folder.parent / "run1")) for mount in built.prepared.mounts)
    built.prepared.sha256()
    assert len(site.asked) == 1
    host = site.asked[0][2]["Host"]
    assert host == f"{PUBLIC}:{site.port}"


@pytest.mark.parametrize(
    ("path", "type_", "headers", "name"),
    [
        ("/a.csv", "text/plain", {}, "a.csv"),
        ("/article", "text/html; charset=utf-8", {}, "article.html"),
        ("/pdf/2401.123", "application/pdf", {}, "2401.123.pdf"),
        ("/", "text/csv", {}, f"{PUBLIC}.csv"),
        ("/x?id=1", "application/json", {"Content_Disposition": 'attachment; filename="../../etc/d.json"'}, "d.json"),
        ("/%2e%2e%2fevil%00", None, {}, "evil"),
    ],
)
def test_the_name_and_its_suffix(desk, site, path, type_, headers, name):
    url = site.page(path, b"{}", type_, **headers)
    with fetch.fetch(url, max_bytes=100, allow_private=False) as download:
        assert download.name == name


def test_html_and_archives_are_what_they_are(desk, site):
    from tests import needs
    from tests.context.test_archives import zipped
    from tests.documents import samples

    needs.module("markitdown")
    built = desk.build(site.page("/news", samples.html(), "text/html"), site.page("/d", zipped({"a": b"A"})))
    assert samples.PHRASE in built.context["news.html"]
    assert "<p>" not in built.context["news.html"]
    assert isinstance(built.context["d"], Files)


def test_the_servers_word_for_the_encoding_counts(desk, site):
    built = desk.build(
        site.page("/r.txt", "\u043f\u0440\u0438\u0432\u0435\u0442".encode("koi8-r"), "text/plain; charset=koi8-r")
    )
    assert built.context == "\u043f\u0440\u0438\u0432\u0435\u0442"


def test_a_body_beyond_the_cap_is_refused_told_or_not(desk, site):
    for url in (site.page("/big", b"x" * 1001), site.page("/zip", gzip.compress(b"x" * 5000), Content_Encoding="gzip")):
        with pytest.raises(InputError, match="has more than 1,000 bytes; --max-download"):
            desk.build(url, max_download=1000)


def test_an_answer_that_is_none_is_one_line(desk, site):
    for url in (site.url("/gone"), site.page("/cut", b"x", Content_Length="1000"), "http://127.0.0.2:1/", "http://"):
        with pytest.raises(InputError, match=r"cannot fetch|is not a URL") as caught:
            desk.build(url)
        assert "\n" not in str(caught.value)


def test_redirects_are_followed_and_each_is_checked(desk, site):
    site.page("/secret", b"SECRET")
    target = site.page("/there.txt", b"there")
    assert desk.build(site.page("/here", b"", status=302, Location="/there.txt")).context == "there"
    assert desk.build(site.page("/abs", b"", status=307, Location=target)).context == "there"
    asked = len(site.asked)
    for number, location in enumerate(
        (site.url("/secret", PRIVATE), site.url("/secret", "localhost"), "file:///etc/passwd")
    ):
        with pytest.raises(InputError, match=r"is not on the public internet|is not a URL of http"):
            desk.build(site.page(f"/evil{number}", b"", status=301, Location=location))
    assert [path for _, path, _ in site.asked[asked:]] == ["/evil0", "/evil1", "/evil2"]
    loop = site.page("/loop", b"", status=302, Location="/loop")
    with pytest.raises(InputError, match="more than 10 redirects"):
        desk.build(loop)


def test_private_addresses_are_refused_unless_allowed(desk, site):
    site.page("/a.txt", b"A")
    for host in (PRIVATE, "localhost", "[::1]", "2130706433", "0x7f.1"):
        with pytest.raises(InputError, match=r"not on the public internet|cannot fetch"):
            desk.build(site.url("/a.txt", host))
    assert not site.asked
    assert desk.build(site.url("/a.txt", PRIVATE), allow_private_urls=True).context == "A"


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(site):
    """A name that is public when it is looked up, and private when it is looked up again."""
    answers = iter([[PUBLIC], [PRIVATE]])
    site.page("/a.txt", b"A")
    with fetch.fetch(
        f"http://rebinding.test:{site.port}/a.txt", max_bytes=9, allow_private=False, resolve=lambda *_: next(answers)
    ) as download:
        assert b"".join(download.pieces) == b"A"
    assert site.asked[0][0] == PUBLIC
    assert site.asked[0][2]["Host"] == f"rebinding.test:{site.port}"
    with pytest.raises(InputError, match="not on the public internet"):
        fetch.fetch("http://x.test/", max_bytes=9, allow_private=False, resolve=lambda *_: [PRIVATE, "::1"]).__enter__()


def test_proxies_of_the_environment_do_not_count(desk, site, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert desk.build(site.page("/a.txt", b"A")).context == "A"


def test_secrets_of_a_url_are_not_shown(desk, site):
    site.page("/a.txt?token=SECRET", b"A")
    url = f"http://user:SECRET@{PUBLIC}:{site.port}/a.txt?token=SECRET"
    built = desk.build(url)
    assert built.context == "A"
    assert "SECRET" not in built.prepared.preview + str(built.prepared.manifest)
    assert site.asked[0][2]["Authorization"].startswith("Basic ")
    with pytest.raises(InputError) as caught:
        desk.build(url + "x")
    assert "SECRET" not in str(caught.value)


def test_a_run_that_is_taken_up_again_fetches_nothing(desk, site):
    prepared = desk.build(site.page("/a.txt", "caf\u00e9".encode("latin-1"), "text/plain")).prepared
    hashes, run = prepared.sha256(), desk.folder.parent / "run1"
    keep.save(prepared, run / "input.json")
    asked = len(site.asked)
    kept = keep.load(run / "input.json")
    keep.check_unchanged(kept, hashes)
    assert guest_inputs.build(kept.local_config()) == "caf\u00e9"
    assert len(site.asked) == asked


def test_a_path_is_never_fetched(desk, site):
    with pytest.raises(InputError, match="no such file"):
        desk.build(Path(site.url("/a.txt")))
    assert not site.asked


@pytest.mark.parametrize(
    "given",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1"),
        *(
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "not an address",
            "240.0.0.1",
            "::ffff:127.0.0.1",
            "fec0::1",
        ),
    ],
)
def test_what_is_not_public(given):
    assert not address.is_public(given)


@pytest.mark.parametrize("given", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public(given):
    assert address.is_public(given)
