"""Model endpoints behind `rlm.protocols.Model`: `ChatModel` speaks Chat Completions, `ResponsesModel` Responses."""

from __future__ import annotations

from rlm.models.apis import APIS, ChatModel, ResponsesModel
from rlm.models.limiter import Limiter, limiter_for
from rlm.models.profiles import Profile, profile_of, profiles
from rlm.models.retry import RetryPolicy
from rlm.models.transport import HttpModel
from rlm.models.wire import CAPS, Dialect, estimate_tokens

__all__ = [
    "APIS",
    "CAPS",
    "ChatModel",
    "Dialect",
    "HttpModel",
    "Limiter",
    "Profile",
    "ResponsesModel",
    "RetryPolicy",
    "estimate_tokens",
    "limiter_for",
    "profile_of",
    "profiles",
]
