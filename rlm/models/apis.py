"""The models by the API that they speak: one transport, and a wire format each."""

from __future__ import annotations

from collections.abc import Mapping

from rlm.models.completions import ChatWire
from rlm.models.responses import ResponsesWire
from rlm.models.transport import HttpModel


class ChatModel(HttpModel):
    """A model behind OpenAI's Chat Completions API, or one like it."""

    wire_type = ChatWire


class ResponsesModel(HttpModel):
    """A model behind OpenAI's Responses API, or one like it; stateless, nothing is stored there."""

    wire_type = ResponsesWire


APIS: Mapping[str, type[HttpModel]] = {"chat": ChatModel, "responses": ResponsesModel}
"""By the value of the setting `api`."""
