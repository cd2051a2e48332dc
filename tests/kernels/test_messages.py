"""The Jupyter messages between the host and one kernel: what both agree on, and what an enemy may send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session

from rlm.bridge import frames
from rlm.errors import ProtocolError
from rlm.kernels.jupyter import KernelMessages


def signed(messages: KernelMessages, *parts: bytes) -> bytes:
    """What code with the kernel's key can send."""
    session = Session(key=messages.key.encode(), check_pid=False)
    return frames.pack_parts([b"<IDS|MSG>", session.sign(list(parts)), *parts])


def test_a_request_reaches_the_kernel_and_its_reply_the_host():
    messages = KernelMessages()
    number, payload = messages.execute_request("print('é\ud800')")
    kernel = Session(key=messages.key.encode(), check_pid=False)
    _, parts = kernel.feed_identities(frames.unpack_parts(payload))
    request = kernel.deserialize(parts)
    assert request["content"]["code"] == "print('é?')"
    assert request["content"]["stop_on_error"] is False
    reply = kernel.msg("execute_reply", {"status": "ok"}, parent=request)
    payload = frames.pack_parts(kernel.serialize(reply))
    assert messages.read_reply(payload) == (number, {"status": "ok"})
    with pytest.raises(ProtocolError, match="Duplicate"):
        messages.read_reply(payload)


def test_without_the_key_nothing_is_believed():
    other = KernelMessages()
    with pytest.raises(ProtocolError, match="Signature"):
        KernelMessages().read_reply(signed(other, b"{}", b"{}", b"{}", b"{}"))


@pytest.mark.parametrize(
    "parts",
    [
        [b"{}"] * 3,
        [b"[]"] * 4,
        [b"5", b"null", b'"x"', b"true"],
        [b'{"msg_id": 5, "msg_type": "execute_reply"}', b"{}", b"{}", b"[]"],
        [b'{"msg_id": "a", "msg_type": "status"}', b'{"msg_id": "b"}', b"{}", b"{}"],
        [b'{"msg_id": "a", "msg_type": "execute_reply"}', b'{"msg_id": 7}', b"{}", b"{}"],
        [b'{"msg_id": "a", "msg_type": "execute_reply", "version": "4.0"}', b"{}", b"{}", b"{}"],
        [b'{"msg_id": "a", "msg_type": "execute_reply", "version": 9}', b"{}", b"{}", b"{}"],
        [b"[" * 100_000, b"{}", b"{}", b"{}"],
        [b"\xff", b"{}", b"{}", b"{}"],
    ],
)
def test_a_signed_message_of_any_other_shape_is_a_protocol_error(parts):
    messages = KernelMessages()
    with pytest.raises(ProtocolError):
        messages.read_reply(signed(messages, *parts))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["msg_id", "msg_type", "version", "date", "status"]), inner)
    ),
)


@given(st.lists(values, min_size=4, max_size=5))
def test_no_signed_json_raises_anything_else(parts):
    messages = KernelMessages()
    try:
        messages.read_reply(signed(messages, *(json.dumps(part).encode() for part in parts)))
    except ProtocolError:
        return
