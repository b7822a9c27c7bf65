"""Only a name of ``websockets``: frames live in ``wsframe.codec``, their vocabulary in ``wsframe.constants``."""

from wsframe.codec import Frame
from wsframe.constants import CloseCode, Opcode
from wsframe.exceptions import Close

__all__ = ["Close", "CloseCode", "Frame", "Opcode"]
CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode
DATA_OPCODES, CTRL_OPCODES = (CONT, TEXT, BINARY), (CLOSE, PING, PONG)
