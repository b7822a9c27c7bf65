"""Frames under the names of ``websockets.frames``. Rank 2."""

from __future__ import annotations

from wsframe.constants import CloseCode, Opcode
from wsframe.exceptions import Close
from wsframe.framing import Frame

__all__ = ["Close", "CloseCode", "Frame", "Opcode"]

CONT = Opcode.CONTINUATION
TEXT = Opcode.TEXT
BINARY = Opcode.BINARY
CLOSE = Opcode.CLOSE
PING = Opcode.PING
PONG = Opcode.PONG
DATA_OPCODES = CONT, TEXT, BINARY
CTRL_OPCODES = CLOSE, PING, PONG
