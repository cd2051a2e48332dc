"""What tokens cost: the prices of the configuration, else those of the catalogue. None is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlm.catalog import Catalog
from rlm.config import Price
from rlm.errors import ConfigError
from rlm.protocols import Tokens

_PER = 1_000_000
_SAMPLE = 1000
"""Output tokens whose price stands for that of one more."""


class PriceTable:
    """Prices by model name."""

    def __init__(self, prices: Mapping[str, Price] | None = None, catalog: Catalog | None = None) -> None:
        self._prices = dict(prices or {})
        self._catalog = catalog or Catalog({})

    def cost(self, model: str, tokens: Tokens) -> float | None:
        """The cost of one request's tokens; None when the model's price is not known."""
        price = self._prices.get(model)
        if price is None:
            return self._catalog.cost(model, tokens)
        cached = min(tokens.cached_input, tokens.input)
        cached_price = price.input if price.cached_input is None else price.cached_input
        return ((tokens.input - cached) * price.input + cached * cached_price + tokens.output * price.output) / _PER

    def affordable_output(self, model: str, money: float, input_tokens: int) -> int | None:
        """Output tokens that `money` buys after the input is paid; None when the price is not known."""
        base, more = self.cost(model, Tokens(input_tokens)), self.cost(model, Tokens(input_tokens, _SAMPLE))
        if base is None or more is None:
            return None
        left = money - base
        if left < 0:
            return 0
        return int(left * _SAMPLE / (more - base)) if more > base else _PER

    def require(self, models: Iterable[str]) -> None:
        """Raise `ConfigError` unless every price is known, as a limit on cost needs it."""
        for model in models:
            if self.cost(model, Tokens(1, 1)) is None:
                raise ConfigError(
                    f'max_cost needs the price of {model!r}: set [prices."{model}"] input and output, '
                    "or install rlm-kernel[prices] for those of hosted models"
                )
