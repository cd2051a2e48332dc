"""What tokens cost. Prices come from the configuration alone: a price that is not known is not guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlm.config import Price
from rlm.errors import ConfigError
from rlm.protocols import Tokens

_PER = 1_000_000


class PriceTable:
    """Prices by model name."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self._prices = dict(prices or {})

    def cost(self, model: str, tokens: Tokens) -> float | None:
        """The cost of these tokens; None when the model's price is not known."""
        price = self._prices.get(model)
        if price is None:
            return None
        cached = min(tokens.cached_input, tokens.input)
        cached_price = price.input if price.cached_input is None else price.cached_input
        return ((tokens.input - cached) * price.input + cached * cached_price + tokens.output * price.output) / _PER

    def affordable_output(self, model: str, money: float, input_tokens: int) -> int | None:
        """Output tokens that `money` buys after the input is paid; None when the price is not known."""
        price = self._prices.get(model)
        if price is None:
            return None
        left = money - input_tokens * price.input / _PER
        if left < 0:
            return 0
        return int(left * _PER / price.output) if price.output else _PER

    def require(self, models: Iterable[str]) -> None:
        """Raise `ConfigError` unless every price is known, as a limit on cost needs it."""
        for model in models:
            if model not in self._prices:
                raise ConfigError(f'max_cost needs the price of {model!r}: set [prices."{model}"] input and output')
