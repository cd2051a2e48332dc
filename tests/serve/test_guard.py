"""Who gets anything, how much may come in, and what hostile clients achieve."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import httpx
import pytest

from rlm import web
from rlm.errors import ConfigError
from rlm.serve import connections, server
from rlm.serve.keys import Keys, load
from tests.serve.conftest import Serve, answer, question, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

KEY, OTHER = "sk-first-key-of-all", "sk-second-key-of-all"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_with_keys_nothing_is_had_without_one(serve: Serve):
    served = serve(keys=(KEY, OTHER))
    paths = ["/v1/models", "/v1/models/rlm", "/v1/files", "/metrics", "/nothing"]
    with served.http() as client:
        for path in paths:
            for headers in ({}, bearer("x"), bearer(KEY[:-1]), bearer(KEY + "x"), {"Authorization": KEY}):
                got = client.get(path, headers=headers)
                assert (got.status_code, got.json()["error"]["code"]) == (401, "invalid_api_key")
                assert got.json()["error"]["type"] == "authentication_error"
        assert client.post("/v1/chat/completions", json=question()).status_code == 401
        assert [client.get(path, headers=bearer(OTHER)).status_code for path in paths] == [200, 200, 200, 200, 404]
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        # Behind a proxy, another name is as good.
        assert client.get("/v1/models", headers={**bearer(KEY), "Host": "rlm.example"}).status_code == 200
    assert served.model.request_count == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:{port}"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "none"}, 200),
        ({"Host": "[::1]:{port}"}, 200),
    ],
)
def test_without_keys_no_page_of_a_browser_reaches_it(serve: Serve, headers, status):
    served = serve()
    sent = {name: value.format(port=served.server.port) for name, value in headers.items()}
    with served.http() as client:
        got = client.get("/v1/models", headers=sent)
    assert got.status_code == status
    assert "access-control-allow-origin" not in got.headers
    assert got.headers["x-content-type-options"] == "nosniff"
    assert ("error" in got.json()) == (status != 200)


def test_the_names_of_a_server():
    assert "127.0.0.2:8000" in web.own_names(8000, "127.0.0.2")
    assert "localhost" in web.own_names(80)
    assert "localhost" not in web.own_names(8000)
    assert "localhost:8" not in web.own_names(8080)


def test_keys_are_read_from_a_file_and_the_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# of the team\n{KEY}\n\n{OTHER} , sk-third-key-of-all\n")
    environ = {"RLM_SERVE_KEYS": "sk-fourth-key-of-all,sk-fifth-key-of-all"}
    keys = load(file, environ)
    assert environ == {}
    owners = {keys.owner(f"bearer {key}") for key in (KEY, OTHER, "sk-third-key-of-all", "sk-fifth-key-of-all")}
    assert len(owners) == 4
    assert None not in owners
    assert not any(KEY in str(vars(keys)[name]) for name in vars(keys))
    assert keys.owner("Bearer of") is None
    assert keys.owner("Basic " + KEY) is None
    assert Keys().owner("") == "local"


@pytest.mark.parametrize("content", [None, "", "# nothing\n", "short\n", b"\xff\xfe" * 20])
def test_keys_that_are_none(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert "short" not in str(caught.value)


# --- sizes and times


def test_a_body_that_is_too_large_is_not_read(serve: Serve):
    served = serve(max_body=10_000)

    def pieces():
        for _ in range(100):
            yield b"x" * 1000

    with served.http() as client:
        for content in (b"x" * 10_001, pieces()):
            got = client.post("/v1/chat/completions", content=content)
            assert (got.status_code, got.json()["error"]["code"]) == (413, "request_too_large")
        assert client.post("/v1/chat/completions", json=question()).status_code != 413


def raw(served, data: bytes, seconds: float = 10) -> bytes:
    """What comes back when these bytes are sent and nothing after them."""
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
        return received


def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve):
    served = serve(read_timeout=0.5)
    host = f"Host: 127.0.0.1:{served.server.port}\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{host}Content-Length: 1000\r\nConnection: close\r\n\r\n"
    begun = time.monotonic()
    assert b"408" in raw(served, head.encode() + b'{"model"').split(b"\r\n")[0]
    assert time.monotonic() - begun < 5
    wait_until(lambda: served.server._jobs.waiting == 0)


@pytest.mark.parametrize("data", [b"", b"GET /healthz HTTP/1.1\r\nHos"])
def test_a_connection_that_asks_nothing_is_closed(serve: Serve, monkeypatch, data):
    monkeypatch.setattr(connections, "EVERY", 0.3)
    served = serve()
    begun = time.monotonic()
    with contextlib.suppress(ConnectionResetError):  # closed as well
        assert raw(served, data) == b""
    assert 0.2 < time.monotonic() - begun < 5


def test_a_run_that_takes_its_time_is_no_idle_connection(serve: Serve, monkeypatch):
    monkeypatch.setattr(connections, "EVERY", 0.1)
    served = serve({"root": {"text": answer("1"), "delay": 1.0}})
    assert served.post(question()).json()["choices"][0]["message"]["content"] == "1"


def test_nonsense_is_answered_with_an_error_of_the_usual_shape(serve: Serve):
    served = serve()
    bodies = [b"", b"null", b"[" * 100_000, b'{"model":"rlm","messages":[{"role":"user","content":"\\ud800"}], "n": 3}']
    with served.http() as client:
        for body in bodies:
            got = client.post("/v1/chat/completions", content=body)
            assert got.status_code == 400
            assert set(got.json()["error"]) == {"message", "type", "param", "code"}
        for method, path, status in (
            ("GET", "/v1/chat/completions", 405),
            ("PUT", "/v1/files", 405),
            ("GET", "/", 404),
            ("GET", "/v1/files/../../etc/passwd", 404),
            ("GET", "/v1/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
            ("DELETE", "/v1/files/file-0", 404),
            ("GET", "/v1/models/gpt-5", 404),
        ):
            got = client.request(method, path)
            assert (got.status_code, set(got.json())) == (status, {"error"})
        lines = client.get("/metrics").text.splitlines()
    routes = {line.split('route="')[1].split('"')[0] for line in lines if 'rlm_requests_total{route="' in line}
    assert routes <= {"/v1/chat/completions", "/v1/files", "/v1/files/ID", "/v1/models/ID", "other", "/metrics"}


def test_half_a_surrogate_pair_does_no_harm(serve: Serve):
    served = serve({"root": answer("'\\ud800' + context")}, long_message=10)
    body = b'{"model":"rlm","messages":[{"role":"user","content":"a story \\udc00 of\\n\\nwhat?"}]}'
    with served.http() as client:
        got = client.post("/v1/chat/completions", content=body)
    assert got.status_code == 200
    assert "a story ? of" in json.dumps(got.json())


# --- files


def upload(client: httpx.Client, name: str, content: bytes, **options) -> httpx.Response:
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data"}, **options)


def test_each_key_has_its_own_files(serve: Serve):
    served = serve(keys=(KEY, OTHER))
    with served.http() as client:
        made = upload(client, "a.txt", b"mine", headers=bearer(KEY)).json()
        assert made["object"] == "file"
        assert (made["filename"], made["bytes"], made["purpose"]) == ("a.txt", 4, "user_data")
        assert made["expires_at"] > made["created_at"]
        mine, others = f"/v1/files/{made['id']}", bearer(OTHER)
        assert client.get(mine, headers=bearer(KEY)).json() == made
        assert client.get("/v1/files", headers=bearer(KEY)).json()["data"] == [made]
        assert client.get("/v1/files", headers=others).json()["data"] == []
        assert client.get(mine, headers=others).status_code == client.delete(mine, headers=others).status_code == 404
        part = [{"type": "file", "file": {"file_id": made["id"]}}, {"type": "text", "text": "what?"}]
        stolen = client.post("/v1/chat/completions", json=question(part), headers=others)
        assert (stolen.status_code, stolen.json()["error"]["code"]) == (404, "file_not_found")
        assert served.server._jobs.waiting == 0
        assert client.delete(mine, headers=bearer(KEY)).json()["deleted"] is True
        assert client.get(mine, headers=bearer(KEY)).status_code == 404


def test_files_have_bounds(serve: Serve):
    served = serve(max_file=1000, max_storage=1500, file_ttl=1.0)
    with served.http() as client:
        assert upload(client, "a", b"x" * 1001).json()["error"]["code"] == "file_too_large"
        assert upload(client, "a", b"x" * 200_000).json()["error"]["code"] == "request_too_large"
        first = upload(client, "../../a\x00b", b"x" * 1000).json()
        assert first["filename"] == "a%00b"  # as the client has escaped it
        assert upload(client, "b", b"x" * 501).status_code == 507
        wait_until(lambda: client.get(f"/v1/files/{first['id']}").status_code == 404)
        assert upload(client, "b", b"x" * 501).status_code == 200
        odd = [
            client.post("/v1/files", content=b"x"),
            client.post("/v1/files", data={"purpose": "user_data"}),
            client.post("/v1/files", files={"other": ("a", b"x")}),
            client.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "../x"}),
            client.post("/v1/files", files=[("file", ("a", b"x")), ("file", ("b", b"x"))]),
            client.post(
                "/v1/files", content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
            ),
            client.post("/v1/files", content=b"x", headers={"Content-Type": "multipart/form-data"}),
            client.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "x" * 10_000}),
        ]
    assert [got.status_code for got in odd] == [400] * len(odd)
    assert all(set(got.json()) == {"error"} for got in odd)


def test_a_file_goes_when_its_time_is_over_and_nobody_asks(serve: Serve, isolated_env, monkeypatch):
    monkeypatch.setattr(server, "_SWEEP_EVERY", 0.1)
    served = serve(file_ttl=0.5)
    files = isolated_env / "home/.local/state/rlm/scratch"
    with served.http() as client:
        upload(client, "a.txt", b"mine")
    assert [path.read_bytes() for path in files.rglob("a.txt")] == [b"mine"]
    wait_until(lambda: not list(files.rglob("file-*")))


def test_a_file_that_is_deleted_meanwhile_stays_for_its_run(serve: Serve, isolated_env):
    served = serve(
        {"root": {"text": answer("open(context).read() if not isinstance(context, str) else context"), "delay": 1}}
    )
    with served.http() as client:
        made = upload(client, "a.txt", b"kept for the run").json()
        part = [{"type": "file", "file": {"file_id": made["id"]}}, {"type": "text", "text": "what?"}]
        request = client.build_request("POST", "/v1/chat/completions", json=question(part, stream=True))
        got = client.send(request, stream=True)
        wait_until(lambda: served.model.in_flight == 1)
        assert client.delete(f"/v1/files/{made['id']}").status_code == 200
        assert "kept for the run" in "".join(got.iter_text())
    scratch = isolated_env / "home/.local/state/rlm/scratch"
    wait_until(lambda: [path for path in scratch.rglob("*.txt")] == [])
    served.end()
    assert list(scratch.iterdir()) == []
