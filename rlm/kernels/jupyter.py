"""Execute requests and their replies in the Jupyter protocol, as payloads of the agent stream.

The kernel's key keeps out other processes, not the kernel's own code: a cell can read it and forge
any reply. A forged reply can only say something false about that cell.
"""

from __future__ import annotations

import secrets
from typing import Any

from rlm.bridge import frames
from rlm.errors import ProtocolError


def warm() -> None:
    """Import what takes a tenth of a second, in a thread, while the sandbox starts."""
    import jupyter_client.session  # noqa: F401


class KernelMessages:
    """Signs what goes to one kernel and checks what comes from it."""

    def __init__(self) -> None:
        from jupyter_client.session import Session

        self.key = secrets.token_hex(32)
        self._session = Session(key=self.key.encode(), check_pid=False)

    def execute_request(self, code: str, said: str = "") -> tuple[str, bytes]:
        """The message id and the payload. `stop_on_error=False`: a cell is never skipped for an earlier one."""
        content = {
            # Lone surrogates, which no source file could hold, become `?`.
            "code": code.encode("utf-8", "replace").decode(),
            "said": said.encode("utf-8", "replace").decode(),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = self._session.msg("execute_request", content)
        return message["header"]["msg_id"], frames.pack_parts(self._session.serialize(message))

    def read_reply(self, payload: bytes) -> tuple[str, dict[str, Any]]:
        """The id of the request that a reply belongs to, and its content. Raises `ProtocolError`."""
        parts = frames.unpack_parts(payload)
        try:
            _, parts = self._session.feed_identities(parts)
            message = self._session.deserialize(parts)
            kind, parent, content = message["msg_type"], message["parent_header"], message["content"]
        except Exception as error:
            # It adapts messages of older versions and parses dates: what an enemy's message may raise is open.
            raise ProtocolError(f"a broken kernel message: {type(error).__name__}: {str(error)[:200]}") from None
        if kind != "execute_reply" or not isinstance(content, dict):
            raise ProtocolError("a kernel message that is not an execute reply")
        number = parent.get("msg_id") if isinstance(parent, dict) else None
        if not isinstance(number, str):
            raise ProtocolError("an execute reply to nothing")
        return number, content
