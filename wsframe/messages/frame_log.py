"""One-line descriptions of frames, for logs."""

from __future__ import annotations

import codecs

from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.exceptions import Close
from wsframe.limits import LOGGED_BYTES

__all__ = ["describe_frame"]

_TEXT_IS_EXPECTED = {Opcode.TEXT: True, Opcode.BINARY: False, Opcode.CLOSE: True}


def describe_frame(frame: Frame) -> str:
    """Describe a frame in one line, in the format of ``websockets``: ``TEXT 'abc' [3 bytes]``.

    UTF-8 is shown as text, other bytes in hexadecimal; a long payload is cut to its beginning and its end.
    """
    payload = frame.payload
    expected = _TEXT_IS_EXPECTED.get(frame.opcode)
    try:
        shown, is_text = _show_text(frame.opcode, payload), True
    except UnicodeDecodeError:
        shown, is_text = _show_binary(payload), False
    details = [f"{len(payload)} byte{'' if len(payload) == 1 else 's'}"]
    if payload and is_text is not expected:
        details.insert(0, "text" if is_text else "binary")
    if not frame.fin:
        details.append("continued")
    name = "CONT" if frame.opcode is Opcode.CONTINUATION else frame.opcode.name
    return f"{name} {shown} [{', '.join(details)}]"


def _show_text(opcode: Opcode, payload: bytes) -> str:
    if opcode is Opcode.CLOSE and payload:
        return str(Close(payload[0] << 8 | payload[1], payload[2:].decode()))
    if opcode >= Opcode.PING:
        # Usually random bytes, which may happen to be UTF-8.
        payload.decode("ascii")
    if len(payload) <= LOGGED_BYTES:
        return repr(payload.decode())
    # Leave out characters that are cut in two.
    end = payload[-(LOGGED_BYTES // 3) :]
    whole = next((i for i in range(3) if end[i] & 0xC0 != 0x80), 3)
    return repr(f"{_decode_start(payload[: LOGGED_BYTES * 2 // 3])}...{_decode_start(end[whole:])}")


def _decode_start(data: bytes) -> str:
    return codecs.getincrementaldecoder("utf-8")().decode(data)


def _show_binary(payload: bytes) -> str:
    if len(payload) <= LOGGED_BYTES // 3:
        return payload.hex(" ")
    return f"{payload[: LOGGED_BYTES * 2 // 9].hex(' ')} ... {payload[-(LOGGED_BYTES // 9) :].hex(' ')}"
