"""The one place where failures of `aiohttp`, `openai` and HTTP become errors of `rlm`.

An `AttemptFailed` is the verdict on one attempt: the `ModelError` that the caller gets if nothing
better comes, and what the retry layer and the limiter need to know. It never leaves `rlm.models`.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from rlm.errors import AuthError, BadReply, EndpointError, ModelError, ModelTimeout, PromptTooLong, RateLimited
from rlm.models.endpoint import Endpoint

_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_TOO_LONG_PHRASES = (
    "context length",
    "context_length",
    "context window",
    "context size",
    "maximum number of tokens",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "too many tokens",
    "reduce the length of the messages",
    "reduce the length of the prompt",
)
_SPENT_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


class AttemptFailed(Exception):
    """One attempt failed; `error` is what the caller sees if it is the last."""

    def __init__(
        self,
        error: ModelError,
        *,
        retry: bool = False,
        retry_after: float | None = None,
        throttled: bool = False,
        unreachable: bool = False,
        stale: bool = False,
        refusal: str = "",
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry = retry
        self.retry_after = retry_after
        """Seconds that the endpoint asked for."""
        self.throttled = throttled
        """A 429: the endpoint is alive and wants fewer requests."""
        self.unreachable = unreachable
        """No connection could be made."""
        self.stale = stale
        """A kept-alive connection was already closed by the server."""
        self.refusal = refusal
        """What the endpoint said against the request's parameters, for `Dialect.adapted`."""


def from_status(status: int, headers: Mapping[str, str], body: bytes, endpoint: Endpoint) -> AttemptFailed:
    """The verdict on a reply whose status is not 2xx."""
    if 300 <= status < 400:
        target = endpoint.clean(headers.get("Location", "somewhere else"))
        return AttemptFailed(BadReply(f"{endpoint.key} redirects to {target}; set the base URL to where it lives now"))
    return from_error_object(status, _decode(body), endpoint, headers)


def from_error_object(
    status: int, error: object, endpoint: Endpoint, headers: Mapping[str, str] | None = None
) -> AttemptFailed:
    """The verdict on an error object (`{"error": …}`, its inside, or plain text) with a status."""
    said, code = _message_and_code(error)
    label = f"{endpoint.key} answered {status}" if status else f"{endpoint.key} broke off its reply"
    text = f"{label}: {endpoint.clean(said)}" if said else label
    wait = retry_after(headers) if headers is not None else None
    if status in (401, 403):
        return AttemptFailed(AuthError(text))
    if status == 429:
        return AttemptFailed(RateLimited(text), retry=code not in _SPENT_CODES, retry_after=wait, throttled=True)
    if status == 408:
        return AttemptFailed(ModelTimeout(text), retry=True, retry_after=wait)
    if status == 413 or (status in (0, 400, 422) and _says_too_long(said, code)):
        return AttemptFailed(PromptTooLong(text))
    if status in (0, 409) or status >= 500:
        return AttemptFailed(EndpointError(text), retry=True, retry_after=wait)
    return AttemptFailed(BadReply(text), refusal=said if status in (400, 422) else "")


def from_transport(exc: BaseException, endpoint: Endpoint, *, reused: bool = False) -> AttemptFailed:
    """The verdict on what `aiohttp`, `ssl` or a socket raised. `reused`: on a kept-alive connection."""
    where = endpoint.key
    reason = endpoint.clean(str(exc)) or type(exc).__name__
    if isinstance(exc, ssl.CertificateError):
        return AttemptFailed(EndpointError(f"no secure connection to {where}: {reason}"))
    if isinstance(exc, aiohttp.ClientConnectorError):
        reason = endpoint.clean(exc.os_error.strerror or str(exc.os_error))
        return AttemptFailed(EndpointError(f"cannot connect to {where}: {reason}"), retry=True, unreachable=True)
    if isinstance(exc, (aiohttp.ConnectionTimeoutError, socket.gaierror, ConnectionRefusedError)):
        return AttemptFailed(EndpointError(f"cannot connect to {where}: {reason}"), retry=True, unreachable=True)
    if isinstance(exc, (TimeoutError, asyncio.TimeoutError)):
        return AttemptFailed(ModelTimeout(f"{where} sent no complete reply in time"), retry=True)
    if isinstance(exc, aiohttp.ClientPayloadError):
        return AttemptFailed(EndpointError(f"{where} broke off its reply: {reason}"), retry=True)
    if isinstance(exc, (aiohttp.ClientConnectionError, OSError, EOFError)):
        return AttemptFailed(EndpointError(f"{where} dropped the connection: {reason}"), retry=True, stale=reused)
    if isinstance(exc, aiohttp.InvalidURL):
        return AttemptFailed(EndpointError(f"cannot connect to {where}: {reason}"))
    return AttemptFailed(BadReply(f"{where} does not speak HTTP as expected: {reason}"))


def from_openai(exc: BaseException, endpoint: Endpoint) -> AttemptFailed:
    """The verdict on what the official client raised; total over its public exceptions."""
    import openai

    if isinstance(exc, openai.APIStatusError):
        return from_status(exc.status_code, exc.response.headers, exc.response.content, endpoint)
    if isinstance(exc, openai.APIConnectionError):
        root = _root_cause(exc)
        if root is not exc:
            return from_transport(root, endpoint)
        if isinstance(exc, openai.APITimeoutError):
            return from_transport(TimeoutError(), endpoint)
        return AttemptFailed(EndpointError(f"no connection to {endpoint.key}"), retry=True)
    if isinstance(exc, openai.APIResponseValidationError):
        return AttemptFailed(BadReply(f"{endpoint.key} sent a reply that cannot be read"))
    if isinstance(exc, openai.APIError):
        return from_error_object(_status_in(exc.body), exc.body or str(exc), endpoint)
    if isinstance(exc, ValueError):
        return AttemptFailed(BadReply(f"{endpoint.key} sent a reply that cannot be read: {type(exc).__name__}"))
    if isinstance(exc, openai.OpenAIError):
        return AttemptFailed(BadReply(f"{endpoint.key}: {type(exc).__name__}: {endpoint.clean(str(exc))}"))
    return from_transport(exc, endpoint)


def from_reply_error(error: object, endpoint: Endpoint) -> AttemptFailed:
    """The verdict on an error object inside a reply with status 200, as some gateways send it."""
    return from_error_object(_status_in(error) or 500, error, endpoint)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `Retry-After-Ms` or `Retry-After` (seconds or an HTTP date); None without a usable one."""
    for name, scale in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _message_and_code(error: object) -> tuple[str, str]:
    """What the server said, and its code, from whatever shape it chose."""
    code: object = ""
    for _ in range(3):
        if not isinstance(error, Mapping):
            break
        code = error.get("code") or error.get("type") or code
        error = error.get("error") or error.get("message") or error.get("detail") or ""
    said = error if isinstance(error, str) else json.dumps(error, default=str)
    return said[:5000], str(code)


def _status_in(error: Any) -> int:
    """A numeric HTTP status hidden in an error object's `code` or `status`; 0 if there is none."""
    inner = error.get("error") if isinstance(error, Mapping) else None
    for candidate in (error, inner):
        if isinstance(candidate, Mapping):
            for name in ("code", "status", "status_code"):
                value = candidate.get(name)
                if isinstance(value, (int, str)) and str(value).isdecimal() and 400 <= int(value) <= 599:
                    return int(value)
    return 0


def _says_too_long(said: str, code: str) -> bool:
    said = said.lower()
    return code in _TOO_LONG_CODES or any(phrase in said for phrase in _TOO_LONG_PHRASES)


def _root_cause(exc: BaseException) -> BaseException:
    """The failure under the official client's wrappers: the transport's own exception."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
        if isinstance(exc, (aiohttp.ClientError, ssl.SSLError)):
            break
    return exc
