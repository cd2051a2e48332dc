"""The viewer's server: who gets anything from it, and what."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlm.commands import view as view_command
from rlm.errors import ConfigError
from rlm.trace.blobs import LARGE
from rlm.view.library import Library
from rlm.view.server import ViewServer
from tests.view.conftest import QUESTION, Growing, Played

Serve = Callable[[Path], ViewServer]


@pytest.fixture
def client() -> Iterator[Callable[[ViewServer], httpx.Client]]:
    """Clients that have opened the printed address, as a browser does."""
    opened: list[httpx.Client] = []

    def open_(server: ViewServer) -> httpx.Client:
        opened.append(httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False))
        assert opened[-1].get(f"/?token={server.token}").status_code == 200
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def read_stream(client: httpx.Client, run: str, *, skip: int = 0, on_piece: Any = None) -> tuple[list[Any], list[str]]:
    """All events of a stream until it ends, and the types of the messages beside them."""
    events: list[Any] = []
    kinds = []
    with client.stream("GET", f"/api/runs/{run}/events?skip={skip}") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("event: "):
                kinds.append(line[7:])
            elif line.startswith("data: ") and not kinds and (data := json.loads(line[6:])):
                events += data["events"]
                if on_piece:
                    on_piece(data)
    return events, kinds


def test_only_who_has_the_token_gets_anything(serve: Serve, played: Played) -> None:
    server = serve(played.runs)
    paths = ["/", "/page/app.js", "/api/runs", f"/api/runs/{played.trace.run_id}", "/nothing"]
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as stranger:
        for path in paths:
            for cookie in ("", f"rlm-view-{server.port}=guess", "rlm-view=;;;\x01"):
                assert stranger.get(path, headers={"Cookie": cookie}).status_code == 403
        assert stranger.get("/?token=guess").status_code == 403
        assert not stranger.cookies
        first = stranger.get(f"/?token={server.token}")
        assert first.status_code == 200
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert [stranger.get(path).status_code for path in paths] == [200, 200, 200, 200, 404]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_foreign_name_that_leads_here_is_refused(serve: Serve, played: Played, host: str) -> None:
    server = serve(played.runs)
    headers = {"Host": host.format(port=server.port)}
    found = httpx.get(f"http://127.0.0.1:{server.port}/?token={server.token}", headers=headers, trust_env=False)
    assert found.status_code in ((421,) if host else (400, 421))
    assert "script" not in found.text


def test_the_address_that_a_browser_is_started_with_is_good_once(serve: Serve, played: Played) -> None:
    server = serve(played.runs)
    address = server.url(once=True).partition("#")[0]
    assert server.token not in address
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(address).status_code == 200
        assert browser.get(f"http://127.0.0.1:{server.port}/api/runs").status_code == 200
    assert httpx.get(address, trust_env=False).status_code == 403


def test_it_listens_on_loopback_only(serve: Serve, played: Played) -> None:
    server = serve(played.runs)
    assert server._socket.getsockname()[0] == "127.0.0.1"


def test_the_browser_is_told_to_run_our_scripts_and_nothing_else(serve: Serve, played: Played, client: Any) -> None:
    asked = client(serve(played.runs))
    for path in ("/", "/page/app.js", "/api/runs", "/api/runs/none"):
        headers = asked.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
    page = asked.get("/").text
    assert "<script>" not in page
    assert "style=" not in page
    assert " on" not in page.partition("<body>")[2]


def test_the_list_of_runs(serve: Serve, client: Any, played: Played, other: Played, tmp_path: Path) -> None:
    found = client(serve(played.runs)).get("/api/runs").json()
    assert [run["run_id"] for run in found["runs"]] == [other.trace.run_id, played.trace.run_id]
    assert found["left_out"] == 0
    about = found["runs"][1]
    assert (about["question"], about["status"], about["turns"], about["model"]) == (QUESTION, "answered", 5, "root")
    assert about["cost"] > 0


def test_what_a_run_that_goes_on_and_one_that_was_killed_are_called(
    serve: Serve, client: Any, growing: Growing
) -> None:
    asked = client(serve(growing.writer.path.parents[1]))
    assert asked.get(f"/api/runs/{growing.id}").json()["status"] == "running"
    growing.writer.close()
    assert asked.get(f"/api/runs/{growing.id}").json()["status"] == "killed"


def test_prices_of_the_models_are_told(serve: Serve, client: Any, played: Played, other: Played) -> None:
    asked = client(serve(played.runs))
    prices = asked.get(f"/api/runs/{played.trace.run_id}").json()["prices"]
    assert prices["root"] == pytest.approx([2e-6, 8e-6, 2e-6])
    assert prices["sub"] == pytest.approx([0.5e-6, 1e-6, 0.1e-6])
    assert asked.get(f"/api/runs/{other.trace.run_id}").json()["prices"] == {}


def test_the_events_of_a_run_that_is_over(serve: Serve, client: Any, played: Played) -> None:
    asked = client(serve(played.runs))
    whole = list(played.trace.events(whole=False))
    events, kinds = read_stream(asked, played.trace.run_id)
    assert events == whole
    assert kinds == ["end"]
    assert read_stream(asked, played.trace.run_id, skip=len(whole) - 3)[0] == whole[-3:]
    assert asked.get(f"/api/runs/{played.trace.run_id}/events?skip=x").status_code == 400


def test_the_stream_goes_on_while_the_run_goes_on(serve: Serve, client: Any, growing: Growing) -> None:
    asked = client(serve(growing.writer.path.parents[1]))
    came: list[tuple[int, bool]] = []
    first = threading.Event()

    def on_piece(data: Any) -> None:
        came.append((len(data["events"]), data["goes_on"]))
        first.set()

    done: list[Any] = []
    reader = threading.Thread(target=lambda: done.extend(read_stream(asked, growing.id, on_piece=on_piece)))
    reader.start()
    assert first.wait(5)
    assert came == [(1, True)]
    growing.turn(1)
    # Half a line is no event yet.
    with growing.writer.path.open("ab") as file:
        file.write(b'{"type":"notice","text":"half')
        file.flush()
        time.sleep(0.6)
        file.write(b' and half"}\n')
    growing.end()
    reader.join(10)
    events, kinds = done
    assert [event["type"] for event in events][-2:] == ["notice", "run.completed"]
    assert events[-2]["text"] == "half and half"
    assert kinds == ["end"]
    assert len(came) >= 3


def test_a_browser_that_comes_back_gets_the_rest(serve: Serve, client: Any, played: Played) -> None:
    asked = client(serve(played.runs))
    whole = list(played.trace.events(whole=False))
    with asked.stream("GET", f"/api/runs/{played.trace.run_id}/events", headers={"Last-Event-ID": "5"}) as response:
        data = next(line for line in response.iter_lines() if line.startswith("data: "))
    assert json.loads(data[6:])["events"][0] == whole[5]


def test_a_trace_that_is_none_is_told_and_not_shown(serve: Serve, client: Any, growing: Growing) -> None:
    with growing.writer.path.open("ab") as file:
        file.write(b"this is no event\n")
    asked = client(serve(growing.writer.path.parents[1]))
    events, kinds = read_stream(asked, growing.id)
    assert kinds == ["failed"]
    assert len(events) <= 1


def test_long_texts_and_no_other_files(serve: Serve, client: Any, played: Played) -> None:
    asked = client(serve(played.runs))
    (call,) = (e for e in played.trace.events(whole=False) if e["type"] == "call.completed" and e.get("blobs"))
    (digest,) = set(call["blobs"].values())
    base = f"/api/runs/{played.trace.run_id}/blobs"
    found = asked.get(f"{base}/{digest}")
    assert found.text == "the long one " + "needle-in-a-blob " * 2000
    assert len(found.text) > LARGE > len(call["prompt"])
    assert found.headers["content-type"].startswith("text/plain")
    secret = played.runs / "secret"
    secret.write_text("not for you")
    name = played.trace.run_id
    for path in (
        f"{base}/..%2F..%2Fsecret", f"{base}/../../secret", f"{base}/%2e%2e%2f%2e%2e%2fsecret", f"{base}/{'0' * 64}",
        f"{base}/..%2Fevents.jsonl", "/api/runs/..%2Fsecret/events", f"/api/runs/..%2F{played.runs.name}%2F{name}",
        "/page/..%2F..%2Fapp.py", "/page/index.html", "/page/%2Fetc%2Fpasswd", "//etc/passwd",
    ):  # fmt: skip
        response = asked.get(path)
        assert response.status_code == 404, path
        assert "not for you" not in response.text


def test_long_texts_are_searched(serve: Serve, client: Any, played: Played) -> None:
    asked = client(serve(played.runs))
    base = f"/api/runs/{played.trace.run_id}/search"
    (hit,) = asked.get(base, params={"q": "NEEDLE-in-a-Blob"}).json().values()
    assert (hit["at"], hit["count"]) == (13, 2000)
    assert "the long one needle-in-a-blob" in hit["excerpt"]
    assert asked.get(base, params={"q": "nowhere to be found"}).json() == {}
    assert asked.get(base).status_code == 400
    assert asked.get(base, params={"q": "x" * 2000}).status_code == 400


def test_a_lone_surrogate_does_not_end_the_stream(serve: Serve, client: Any, growing: Growing) -> None:
    growing.emit("notice", text="odd \udc80 text")
    growing.end("\ud800")
    asked = client(serve(growing.writer.path.parents[1]))
    events, kinds = read_stream(asked, growing.id)
    assert events[1]["text"] == "odd \udc80 text"
    assert kinds == ["end"]
    assert asked.get("/api/runs").status_code == 200


def test_a_port_that_is_taken(played: Played) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} cannot be used"):
            ViewServer(Library(played.runs), port=port)


def test_two_viewers_at_once(played: Played) -> None:
    with ViewServer(Library(played.runs)) as first, ViewServer(Library(played.runs)) as second:
        assert first.port != second.port


def test_open_streams_do_not_keep_the_server_from_ending(growing: Growing) -> None:
    server = ViewServer(Library(growing.writer.path.parents[1]), port=0)
    with server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as asked:
        with asked.stream("GET", f"/api/runs/{growing.id}/events?token={server.token}") as response:
            next(response.iter_lines())
            began = time.monotonic()
            server.__exit__(None, None, None)
        assert time.monotonic() - began < 4


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_command, "NEEDED", ("starlette", "no_such_package"))
    with pytest.raises(ConfigError, match=r"pip install 'rlm-kernel\[server\]'"):
        view_command.view()


def test_help_loads_no_server() -> None:
    import subprocess

    program = "import sys; from rlm.commands.app import run; run(['view', '--help']); print('uvicorn' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False"


def test_the_command_serves_until_it_is_interrupted(played: Played) -> None:
    import signal
    import subprocess

    command = ["view", played.trace.run_id[-8:], "--no-browser", "--port", "0", "--trace-dir", str(played.runs)]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, str(root / "cli.py"), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        address, _, place = url.partition("#")
        assert place == f"/run/{played.trace.run_id}"
        deadline = time.monotonic() + 10
        while httpx.get(address, trust_env=False).status_code != 200:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "")
    assert err.splitlines() == ["rlm: the viewer runs until Ctrl-C"]
