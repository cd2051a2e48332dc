"""What goes wrong, in the shape that clients of OpenAI's API know: a status, and `{"error": {…}}`.

Texts of models, endpoints and this machine stay out of it: they are in the log and the trace, by the run's id.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rlm.errors import InputError
from rlm.result import RunResult


class ApiError(Exception):
    """An answer other than the one that was asked for. `param` is the place in the request that it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        error = {"message": str(self), "type": _TYPES.get(self.status, _of(self.status)), "param": self.param}
        return {"error": {**error, "code": self.code}}


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def _of(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400: the request cannot be understood, or asks for what cannot be had."""
    return ApiError(400, message, param=param, code=code)


_OF_RUN: dict[str, tuple[int, str, str]] = {
    "AuthError": (502, "upstream_auth", "the model endpoint refuses this server's key"),
    "EndpointError": (502, "upstream_failed", "the model endpoint failed"),
    "BadReply": (502, "upstream_bad_reply", "the model endpoint refused a request, or its reply cannot be read"),
    "RateLimited": (503, "upstream_rate_limited", "the model endpoint asks for fewer requests"),
    "ModelTimeout": (504, "upstream_timeout", "the model endpoint did not answer in time"),
    "PromptTooLong": (400, "context_length_exceeded", "the prompt exceeds the model's context window"),
    "SandboxUnavailable": (503, "sandbox_unavailable", "there is no sandbox to work in"),
    "SandboxError": (500, "sandbox_failed", "the sandbox failed"),
    "KernelDied": (500, "sandbox_failed", "the sandbox failed"),
    "ProtocolError": (500, "sandbox_failed", "the sandbox failed"),
}
"""By the name of the error that ended a run (see `rlm.errors`)."""


def of_result(result: RunResult) -> ApiError | None:
    """What a run's result is answered with in the place of a completion; None if there is something to return.

    A draft is returned whatever limit it hit; without one, a run that ran out of time, or that the end of the server
    cut off, is an error.
    """
    if result.error is not None:
        status, code, message = _OF_RUN.get(result.error.type, (500, "run_failed", "the run failed"))
        return ApiError(status, f"{message} (run {result.run_id})", code=code)
    if result.answer:
        return None
    if result.stop_reason == "timeout":
        return ApiError(504, f"no answer within the time limit (run {result.run_id})", code="timeout")
    if result.stop_reason == "interrupted":
        return ending()
    return None


def of_exception(error: BaseException) -> ApiError:
    """What a run that raised is answered with."""
    if isinstance(error, asyncio.CancelledError):
        return ending()
    if isinstance(error, InputError):
        return invalid("a document could not be read", code="invalid_input")
    return ApiError(500, "the run could not begin", code="run_failed")


def ending() -> ApiError:
    return ApiError(503, "this server is about to end", code="shutting_down", headers={"Retry-After": "5"})
