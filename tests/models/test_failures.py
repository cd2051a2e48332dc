"""The map of foreign failures into our errors is total and tells no secret."""

from __future__ import annotations

import inspect
import json
import ssl
import time
from email.utils import formatdate

import aiohttp
import httpx2
import openai
import pytest

from rlm.errors import (
    AuthError,
    BadReply,
    ConfigError,
    EndpointError,
    ModelError,
    ModelTimeout,
    PromptTooLong,
    RateLimited,
)
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_openai, from_status, from_transport, retry_after

KEY = "sk-very-secret-0123456789"
ENDPOINT = Endpoint.parse("http://model.test/v1", api_key=KEY, headers={"X-Api-Key": "another-secret"})


def verdict(status, body=b"", headers=None):
    return from_status(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode(), ENDPOINT)


@pytest.mark.parametrize(
    ("status", "error", "retry"),
    [
        (301, BadReply, False),
        (400, BadReply, False),
        (401, AuthError, False),
        (403, AuthError, False),
        (404, BadReply, False),
        (408, ModelTimeout, True),
        (409, EndpointError, True),
        (413, PromptTooLong, False),
        (418, BadReply, False),
        (422, BadReply, False),
        (429, RateLimited, True),
        (500, EndpointError, True),
        (503, EndpointError, True),
        (529, EndpointError, True),
    ],
)
def test_statuses(status, error, retry):
    failed = verdict(status, {"error": {"message": "no"}}, {"Retry-After": "3"})
    assert type(failed.error) is error
    assert failed.retry is retry
    assert str(status) in str(failed.error) or status == 301
    assert "model.test" in str(failed.error)
    if status == 429:
        assert failed.throttled
        assert failed.retry_after == 3


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "context_length_exceeded", "message": "no"}},
        {"error": {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000."}},
        {"error": {"type": "exceed_context_size_error", "code": 400, "message": "request exceeds the context size"}},
        {"message": "prompt is too long: 210000 tokens > 200000 maximum"},
        b"The input is longer than the model's context length",
    ],
)
def test_prompts_that_are_too_long(body):
    assert isinstance(verdict(400, body).error, PromptTooLong)


def test_a_spent_quota_is_not_retried():
    assert not verdict(429, {"error": {"code": "insufficient_quota", "message": "pay"}}).retry


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"[1, 2]", b"null", {"error": None}, {"error": {"message": {"a": 1}}}, b"[" * 10**5]
)
def test_any_body_will_do(body):
    assert isinstance(verdict(400, body).error, BadReply)


def test_messages_are_short_clean_and_without_keys():
    said = f"Incorrect API key provided: {KEY}, another-secret\x1b[31m\n" + "<html>" * 500
    text = str(verdict(401, {"error": {"message": said}}).error)
    assert KEY not in text
    assert "another-secret" not in text
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 400
    assert KEY not in repr(ENDPOINT)


def test_retry_after_forms():
    assert retry_after({"Retry-After": "2.5"}) == 2.5
    assert retry_after({"Retry-After-Ms": "1500", "Retry-After": "9"}) == 1.5
    assert 8 < (retry_after({"Retry-After": formatdate(time.time() + 10, usegmt=True)}) or 0) <= 10
    assert retry_after({"Retry-After": formatdate(time.time() - 10, usegmt=True)}) == 0
    for useless in ("soon", "nan", "inf", ""):
        assert retry_after({"Retry-After": useless}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("exc", "error", "flags"),
    [
        (ConnectionRefusedError(111, "refused"), EndpointError, {"retry", "unreachable"}),
        (aiohttp.ServerDisconnectedError(), EndpointError, {"retry", "stale"}),
        (aiohttp.ClientPayloadError("short"), EndpointError, {"retry"}),
        (ssl.SSLCertVerificationError("self-signed"), EndpointError, set()),
        (aiohttp.ClientOSError(104, "reset"), EndpointError, {"retry", "stale"}),
        (aiohttp.SocketTimeoutError("read"), ModelTimeout, {"retry"}),
        (aiohttp.ConnectionTimeoutError("connect"), EndpointError, {"retry", "unreachable"}),
        (TimeoutError(), ModelTimeout, {"retry"}),
        (aiohttp.InvalidURL("x"), EndpointError, set()),
        (aiohttp.ClientError("?"), BadReply, set()),
    ],
)
def test_transport(exc, error, flags):
    failed = from_transport(exc, ENDPOINT, reused=True)
    assert type(failed.error) is error
    assert {flag for flag in ("retry", "unreachable", "stale") if getattr(failed, flag)} == flags


def openai_exceptions():
    found = {value for value in list(vars(openai).values()) if inspect.isclass(value) and issubclass(value, Exception)}
    return sorted(found, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", openai_exceptions(), ids=lambda cls: cls.__name__)
def test_the_openai_map_is_total(cls):
    request = httpx2.Request("POST", "http://model.test/v1/chat/completions")
    response = httpx2.Response(getattr(cls, "status_code", 500), json={"error": {"message": KEY}}, request=request)
    exc = cls.__new__(cls)
    Exception.__init__(exc, f"something about {KEY}")
    vars(exc).update(message="m", request=request, response=response, body={"message": "m"}, code=None)
    vars(exc).update(status_code=response.status_code)
    failed = from_openai(exc, ENDPOINT)
    assert isinstance(failed, AttemptFailed)
    assert isinstance(failed.error, ModelError)
    assert type(failed.error) is not ModelError
    assert KEY not in str(failed.error)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadReply), (401, AuthError), (403, AuthError), (429, RateLimited), (500, EndpointError)],
)
def test_openai_status_errors_say_what_the_hot_path_says(status, error):
    request = httpx2.Request("POST", "http://model.test/v1/chat/completions")
    body = {"error": {"message": "because", "code": "c"}}
    response = httpx2.Response(status, json=body, request=request, headers={"Retry-After": "4"})
    client = openai.AsyncOpenAI(api_key="x", base_url="http://model.test/v1")
    failed = from_openai(client._make_status_error_from_response(response), ENDPOINT)
    direct = verdict(status, body, {"Retry-After": "4"})
    assert type(failed.error) is error
    assert str(failed.error) == str(direct.error)
    assert failed.retry_after == direct.retry_after


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("", None),
        ("model.test/v1", None),
        ("ftp://model.test", None),
        ("http://", None),
        ("http://[::1", None),
        ("http://user:pass@model.test/v1", None),
        ("http://model.test/v1", {"X-Bad": "a\nb"}),
        ("http://model.test/v1", {"X-Bad": "é"}),
    ],
)
def test_unusable_endpoints_are_the_callers_mistake(url, headers):
    with pytest.raises(ConfigError):
        Endpoint.parse(url, api_key="k", headers=headers)


def test_urls():
    endpoint = Endpoint.parse(" https://h.test:8443/openai/v1/?api-version=3 ", api_key=" k \n", headers=None)
    assert endpoint.key == "https://h.test:8443/openai/v1"
    assert str(endpoint.url("chat/completions")) == "https://h.test:8443/openai/v1/chat/completions?api-version=3"
    assert endpoint.headers == {"Authorization": "Bearer k"}
    assert Endpoint.parse("http://h.test", api_key="", headers=None).headers == {}
    assert str(Endpoint.parse("http://h.test", api_key=None, headers=None).url("chat/completions")) == (
        "http://h.test/chat/completions"
    )
