"""Every exception that `rlm` raises, in one tree.

    RLMError
    ├── UserError               a mistake of the caller; nothing was spent       exit 2
    │   ├── ConfigError         an unknown option, a contradiction, a bad value
    │   └── InputError          a missing, unreadable or changed input
    └── RunError                the run could not go on
        ├── SandboxError        the kernel or the engine under it                exit 5
        │   ├── SandboxUnavailable   no engine, no image, no bubblewrap
        │   ├── KernelDied      the kernel is gone (`.death` says why)
        │   └── ProtocolError   the sandbox broke the wire protocol
        └── ModelError          a model endpoint                                 exit 4
            ├── AuthError       401, 403
            ├── EndpointError   unreachable, reset, 5xx after all retries
            ├── ModelTimeout    no reply in time
            ├── RateLimited     429 after all retries
            ├── PromptTooLong   the prompt exceeds the model's window
            └── BadReply        a reply that is not what the protocol promises

Errors of third parties are mapped into this tree where they enter: `openai` and `aiohttp` in
`rlm.models`, `docker` and `jupyter_client` in `rlm.kernels`. A *limit* that is reached is not an
exception: the run ends with a `stop_reason` and the best draft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm.protocols import Death


class RLMError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line returns for it."""

    exit_code = 1


def exit_code_of(name: str) -> int:
    """The exit code of the error of this name."""
    error = globals().get(name)
    return error.exit_code if isinstance(error, type) and issubclass(error, RLMError) else RLMError.exit_code


class UserError(RLMError):
    """A mistake of the caller, found before anything was spent."""

    exit_code = 2


class ConfigError(UserError):
    """An unknown option, a bad value, or options that contradict each other."""


class InputError(UserError):
    """An input that is missing, unreadable, or not what it was when the run began."""


class RunError(RLMError):
    """The run could not go on."""


class SandboxError(RunError):
    """The kernel, or the engine that it lives in, failed."""

    exit_code = 5


class SandboxUnavailable(SandboxError):
    """No engine, image or tool for the sandbox that was asked for; the message says how to get it."""


class KernelDied(SandboxError):
    """The kernel ended while it was needed."""

    def __init__(self, death: Death) -> None:
        super().__init__(f"the kernel died ({death.reason}): {death.detail}")
        self.death = death


class ProtocolError(SandboxError):
    """The sandbox sent something that the wire protocol does not allow."""


class ModelError(RunError):
    """A model endpoint failed. `attempts` counts the requests that were made."""

    exit_code = 4
    kind = "endpoint"

    def __init__(self, message: str, *, attempts: int = 1) -> None:
        super().__init__(message)
        self.attempts = attempts


def attempts_of(error: BaseException) -> int:
    """The requests that were made for a call that ended with `error`, a cancellation included; 1 where unknown."""
    return int(getattr(error, "attempts", 1))


class AuthError(ModelError):
    """The endpoint refused the key (401, 403)."""

    kind = "auth"


class EndpointError(ModelError):
    """The endpoint is unreachable, drops connections, or answers 5xx, after all retries."""


class ModelTimeout(ModelError):
    """No complete reply within the request timeout."""

    kind = "timeout"


class RateLimited(ModelError):
    """The endpoint still answers 429 after all retries."""


class PromptTooLong(ModelError):
    """The prompt does not fit the model's context window."""

    kind = "too_long"


class BadReply(ModelError):
    """The endpoint refused the request as malformed, or its reply could not be read."""

    kind = "invalid"
