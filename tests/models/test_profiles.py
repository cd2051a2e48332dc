"""What is known of providers: the table itself, how they are recognised, and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rlm import Settings, parts
from rlm.commands.providers import page
from rlm.models import ChatModel, Dialect, ResponsesModel, profile_of, profiles
from rlm.testing import Fault

ROOT = Path(__file__).resolve().parents[2]


def test_the_setting_names_each_profile():
    assert get_args(Settings.model_fields["provider"].annotation) == ("auto", *profiles())


def test_what_is_known_is_known_from_somewhere():
    for profile in profiles().values():
        assert profile.quirks
        assert all(page.startswith("https://") for page in profile.source)
        assert bool(profile.source) == (profile.name != "unknown")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com./v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.anthropic.com/v1/", "anthropic"),
        ("http://localhost:11434/v1", "ollama"),
        ("http://gpu-7:8000/v1", "vllm"),
        ("https://api.openai.com:8000/v1", "openai"),
        ("https://api.openai.com.evil.test/v1", "unknown"),
        ("https://notopenrouter.ai/v1", "unknown"),
        ("http://localhost:4000/v1", "unknown"),
        ("http://[", "unknown"),
        ("", "unknown"),
    ],
)
def test_recognised_by_host_then_by_port(url, name):
    assert profile_of(url).name == name
    assert profile_of(url, "vllm").name == "vllm"


def test_a_head_start():
    known = profiles()
    assert known["unknown"].dialect == Dialect()
    assert known["openai"].dialect.cap == "max_completion_tokens"
    assert not known["anthropic"].dialect.structured


async def test_what_a_provider_refuses_is_not_sent_once(scripted_model):
    server = scripted_model("ok", unsupported_params=["max_tokens"])
    settings = Settings(model="m", base_url=server.base_url, provider="openai")
    for model in parts.models(settings).all():
        reply = await model.complete([{"role": "user", "content": "hi"}], max_tokens=50)
        assert reply.attempts == 1
        await model.aclose()
    assert [request.body["max_completion_tokens"] for request in server.requests] == [50, 50]


async def test_a_schema_that_would_be_ignored_is_not_sent(scripted_model):
    server = scripted_model(lambda r: Fault.http(500) if "response_format" in r.body else "{}")
    model = parts.root_model(Settings(base_url=server.base_url, provider="anthropic"), "m")
    params = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
    assert (await model.complete([{"role": "user", "content": "hi"}], params=params)).attempts == 1
    await model.aclose()


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ({}, [ChatModel, ChatModel]),
        ({"api": "responses"}, [ResponsesModel, ResponsesModel]),
        ({"api": "responses", "sub_base_url": "http://localhost:1/v1"}, [ResponsesModel, ChatModel]),
        ({"api": "responses", "sub_api": "chat"}, [ResponsesModel, ChatModel]),
        ({"sub_api": "responses", "sub_base_url": "http://localhost:1/v1"}, [ChatModel, ResponsesModel]),
    ],
)
def test_which_api_is_spoken_where(given, kinds):
    assert [type(model) for model in parts.models(Settings(model="m", **given)).by_depth] == kinds


def test_the_page_is_current():
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    assert text == page(text), "run `make docs`"
