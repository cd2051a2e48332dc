"""`rlm ask --otel`: a real OTLP/HTTP receiver on loopback, and one that is not there."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import needs

needs.module("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

FIND = '```repl\nanswer["content"] = llm_query("is it?")\nanswer["ready"] = True\n```'


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; with `silent` it takes the connection and never answers."""

    daemon_threads = True

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.silent = silent
        self.over = threading.Event()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self.thread.join(5)


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.silent:
            self.server.over.wait(30)
            return
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_spans_arrive_with_the_users_headers(ask, scripted_model, collector) -> None:
    ran = ask(
        scripted_model({"root": FIND, "sub": "yes"}),
        "--otel",
        "--quiet",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20k",
    )
    assert (ran.code, ran.out, ran.err) == (0, "yes\n", "")
    assert {path for path, *_ in collector.requests} == {"/v1/traces"}
    assert {headers["authorization"] for _, headers, _ in collector.requests} == {"Bearer k"}
    resources = [each for *_, request in collector.requests for each in request.resource_spans]
    services = {a.value.string_value for each in resources for a in each.resource.attributes if a.key == "service.name"}
    assert services == {"rlm"}
    names = [span.name for each in resources for scope in each.scope_spans for span in scope.spans]
    assert sorted(names) == [
        "batch 0.b1",
        "chat root",
        "chat sub",
        "execute_tool python",
        "invoke_agent rlm",
        "turn 1",
    ]


def test_without_the_option_nothing_is_sent(ask, scripted_model, collector) -> None:
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}), "--quiet", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert (ran.code, collector.requests) == (0, [])


@pytest.mark.parametrize("silent", [True, False])
def test_a_collector_that_is_not_there_is_told_in_one_line(ask, scripted_model, silent) -> None:
    dead = Collector(silent=silent)
    if not silent:
        dead.close()
    begun = time.monotonic()
    plain = ask(scripted_model({"root": FIND, "sub": "yes"}), "--quiet")
    usual, begun = time.monotonic() - begun, time.monotonic()
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}), "--otel", "--quiet", OTEL_EXPORTER_OTLP_ENDPOINT=dead.url)
    took = time.monotonic() - begun
    if silent:
        dead.close()
    assert (ran.code, ran.out) == (plain.code, plain.out) == (0, "yes\n")
    assert ran.err == "rlm: note: spans were lost: the collector of --otel did not take them\n"
    assert took < usual + 4


def test_a_missing_extra_is_one_line(ask, scripted_model, monkeypatch) -> None:
    server = scripted_model({"root": FIND})
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    ran = ask(server, "--otel", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert ran.errors == ["rlm: error: --otel: its packages are missing: pip install 'rlm-kernel[otel]'"]
    assert server.requests == []
