"""The Jupyter messages that the host needs: an execute request out, its reply in.

Written out rather than left to `jupyter_client`, whose import takes longer than a fork of a kernel,
and which was not made to read what an enemy sends. The kernel's key keeps out other processes, not
the kernel's own code: a cell can read it and forge any reply. A forged reply can only say something
false about that cell.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from rlm.bridge import frames
from rlm.errors import ProtocolError

PROTOCOL = "5.3"
_DELIMITER = b"<IDS|MSG>"


class KernelMessages:
    """Signs what goes to one kernel and checks what comes from it."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(32)
        self._session = secrets.token_hex(16)

    def execute_request(self, code: str) -> tuple[str, bytes]:
        """The message id and the payload. `stop_on_error=False`: a cell is never skipped for an earlier one."""
        number = secrets.token_hex(16)
        header = {
            "msg_id": number,
            "msg_type": "execute_request",
            "session": self._session,
            "username": "host",
            "date": datetime.now(UTC).isoformat(),
            "version": PROTOCOL,
        }
        content = {
            # Lone surrogates, which no source file could hold, become `?`.
            "code": code.encode("utf-8", "replace").decode(),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        parts = [json.dumps(part, ensure_ascii=False).encode() for part in (header, {}, {}, content)]
        return number, frames.pack_parts([_DELIMITER, self._sign(parts), *parts])

    def read_reply(self, payload: bytes) -> tuple[str, dict[str, Any]]:
        """The id of the request that a reply belongs to, and its content. Raises `ProtocolError`."""
        parts = frames.unpack_parts(payload)
        if _DELIMITER not in parts:
            raise ProtocolError("a kernel message without a delimiter")
        signature, *signed = parts[parts.index(_DELIMITER) + 1 :] or [b""]
        if len(signed) < 4 or not hmac.compare_digest(signature, self._sign(signed[:4])):
            raise ProtocolError("a kernel message that is not signed with the kernel's key")
        header, parent, _, content = (frames.parse_json(part) for part in signed[:4])
        if not isinstance(header, dict) or header.get("msg_type") != "execute_reply":
            raise ProtocolError("a kernel message that is not an execute reply")
        number = parent.get("msg_id") if isinstance(parent, dict) else None
        if not isinstance(number, str) or not isinstance(content, dict):
            raise ProtocolError("an execute reply to nothing")
        return number, content

    def _sign(self, parts: list[bytes]) -> bytes:
        return hmac.new(self.key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
