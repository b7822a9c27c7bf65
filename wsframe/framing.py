"""Frames (RFC 6455 §5): selects the compiled or the pure twin. Rank 2.

The contract of both twins, which the parity tests cover and nothing else:

* ``Frame``, ``FrameParser`` and ``serialize_frame`` have the same signatures and docstrings;
* ``FrameParser.feed`` takes C-contiguous bytes-like objects; frames, ``fault`` and ``pending_bytes`` are a
  function of the bytes fed so far, not of how they were cut;
* of several violations, the one is reported whose byte comes first; at the same byte: reserved bits, opcode,
  fragmentation, masking, length, limits, payload;
* no exception leaves ``feed`` but TypeError, for an argument that is not bytes-like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe._framing_py import Frame, FrameParser, serialize_frame
else:
    from wsframe._framing_c import Frame, FrameParser, serialize_frame

__all__ = ["Frame", "FrameParser", "serialize_frame"]
