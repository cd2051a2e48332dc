"""Execute requests and replies of the Jupyter protocol, as payloads of the agent stream.

The kernel's key keeps out other processes, not the kernel's own code: a cell can read it and forge
any reply. A forged reply can only say something false about that cell.
"""

from __future__ import annotations

import secrets
from typing import Any

from jupyter_client.session import Session

from rlm.bridge import frames
from rlm.errors import ProtocolError


class KernelMessages:
    """Signs what goes to one kernel and checks what comes from it."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(32)
        self._session = Session(key=self.key.encode(), check_pid=False)

    def execute_request(self, code: str) -> tuple[str, bytes]:
        """The message id and the payload. `stop_on_error=False`: a cell is never skipped for an earlier one."""
        content = {
            "code": code,
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
            parent = message["parent_header"].get("msg_id")
            content = message["content"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"a broken kernel message: {type(error).__name__}: {str(error)[:200]}") from None
        if message.get("msg_type") != "execute_reply" or not isinstance(parent, str) or not isinstance(content, dict):
            raise ProtocolError("a kernel message that is not an execute reply")
        return parent, content
