"""Model endpoints: `ChatModel` speaks OpenAI Chat Completions behind `rlm.protocols.Model`."""

from __future__ import annotations

from rlm.models.chat import ChatModel
from rlm.models.limiter import Limiter, limiter_for
from rlm.models.retry import RetryPolicy
from rlm.models.wire import estimate_tokens

__all__ = ["ChatModel", "Limiter", "RetryPolicy", "estimate_tokens", "limiter_for"]
