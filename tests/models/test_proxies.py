"""Both paths go through the proxy that the environment names, and only where it says so."""

from __future__ import annotations

import pytest

from rlm.errors import ConfigError, EndpointError
from rlm.models import ChatModel, RetryPolicy
from rlm.models.endpoint import Endpoint
from rlm.models.sessions import environment_proxy

ASK = [{"role": "user", "content": "hello"}]


async def both_paths(base_url):
    model = ChatModel("m", base_url=base_url, retry=RetryPolicy(max_attempts=1))
    try:
        whole = await model.complete(ASK)
        return whole.text, "".join([delta.text async for delta in model.stream(ASK)])
    finally:
        await model.aclose()


@pytest.mark.filterwarnings("ignore:.*deprecated and will be removed in:DeprecationWarning")  # by the official client
@pytest.mark.parametrize("user", ["", "me:secret@"])
async def test_requests_go_through_the_proxy(scripted_model, isolated_env, monkeypatch, user):
    proxy = scripted_model("by proxy")
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1").replace("://", f"://{user}"))
    assert await both_paths("http://model.invalid/v1") == ("by proxy", "by proxy")
    assert {request.headers["host"] for request in proxy.requests} == {"model.invalid"}
    if user:
        assert {request.headers.get("proxy-authorization") for request in proxy.requests} == {"Basic bWU6c2VjcmV0"}


async def test_no_proxy_is_respected(scripted_model, isolated_env, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert await both_paths(scripted_model().base_url) == ("ok", "ok")
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(EndpointError):
        await both_paths(scripted_model().base_url)


def test_a_proxy_that_cannot_be_used_is_a_configuration_error(isolated_env, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigError, match="proxy"):
        environment_proxy(Endpoint.parse("http://model.invalid", api_key=None, headers=None))
