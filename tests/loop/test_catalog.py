"""Prices and windows of hosted models, from the data of the `prices` extra; nothing is looked up on the network."""

from __future__ import annotations

import sys

import pytest

from rlm import parts
from rlm.catalog import Catalog
from rlm.config import Price, Settings
from rlm.errors import ConfigError
from rlm.prices import PriceTable
from rlm.protocols import Tokens
from tests import needs

needs.module("genai_prices")
OPENAI = "https://api.openai.com/v1"


def test_a_hosted_model_has_a_price_and_a_window() -> None:
    catalog = Catalog({"gpt-5-mini": OPENAI})
    cost = catalog.cost("gpt-5-mini", Tokens(1_000_000, 0))
    assert cost
    assert (catalog.cost("gpt-5-mini", Tokens(1_000_000, 0, 1_000_000)) or cost) < cost
    assert (catalog.context_window("gpt-5-mini") or 0) >= 100_000


@pytest.mark.parametrize(
    ("model", "url"), [("no-such-model", OPENAI), ("gpt-5-mini", "http://127.0.0.1:1/v1"), ("gpt-5-mini", None)]
)
def test_what_is_not_known_is_not_guessed(model: str, url: str | None) -> None:
    catalog = Catalog({model: url} if url else {})
    assert catalog.cost(model, Tokens(10, 10)) is None
    assert catalog.context_window(model) is None
    assert PriceTable({}, catalog).affordable_output(model, 1.0, 10) is None


def test_without_the_extra_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert Catalog({"gpt-5-mini": OPENAI}).cost("gpt-5-mini", Tokens(10, 10)) is None


def test_the_users_own_price_wins() -> None:
    table = PriceTable({"gpt-5-mini": Price(input=1, output=2)}, Catalog({"gpt-5-mini": OPENAI}))
    assert table.cost("gpt-5-mini", Tokens(1_000_000, 1_000_000)) == 3


def test_affordable_output_is_what_the_money_buys() -> None:
    table = PriceTable({}, Catalog({"gpt-5-mini": OPENAI}))
    output = table.affordable_output("gpt-5-mini", 0.01, 1000)
    assert output
    cost = table.cost("gpt-5-mini", Tokens(1000, output))
    assert cost == pytest.approx(0.01, rel=0.01)
    assert (cost or 1) <= 0.01 + 1e-9


def test_a_run_with_a_limit_on_cost_needs_every_price() -> None:
    settings = Settings(model="gpt-5", sub_model="gpt-5-mini", base_url=OPENAI, max_cost=1.0)
    assert parts.ledger(settings).limits.max_cost == 1.0
    with pytest.raises(ConfigError, match="'gpt-5-mini'"):
        parts.ledger(settings.model_copy(update={"sub_base_url": "http://127.0.0.1:1/v1"}))
    assert parts.models(settings).by_depth[1].context_window
