"""Bytes to frames and frames to bytes (RFC 6455 §5), without I/O.

It parses bytes, in pieces of any size, into frames or the first protocol violation, and serializes frames to bytes. It
does not depend on connections, extensions or event loops, and loads none of them.

Each part has a compiled and a pure implementation, called twins. This package selects one implementation for all parts,
once, at import. The contract of both, which the tests in ``tests/parity`` cover:

Masking (``_masking``, RFC 6455 §5.3)
    * ``apply_mask(data, mask) -> bytes``: any bytes-like object in, new bytes out;
    * ``apply_mask_inplace(buffer, mask, phase=0)``: a writable, C-contiguous buffer, masked in place;
    * ``new_masking_key() -> bytes``: 4 bytes from a pool of ``os.urandom``, fresh after a fork.

UTF-8 (``_utf8``, RFC 3629, RFC 6455 §8.1)
    * ``Utf8Validator`` has ``feed(data) -> bool`` for C-contiguous bytes-like objects, ``finish() -> bool`` and
      ``valid``. Invalid text is detected at the same byte, however it is split.

Framing (``_framing``, RFC 6455 §5.2)
    * ``Frame``, ``FrameParser`` and ``serialize_frame`` have the same signatures and docstrings;
    * ``FrameParser.feed`` takes C-contiguous bytes-like objects; frames, ``fault`` and ``pending_bytes`` depend on the
      bytes fed so far, not on how they were split;
    * of several violations, the parser reports the one whose byte comes first; at the same byte, the order is
      reserved bits, opcode, fragmentation, masking, length, limits, payload;
    * ``feed`` raises only TypeError, for an argument that is not bytes-like.

Messages (``_message``, RFC 6455 §5.6)
    * ``Message`` objects behave alike in construction, comparison, hashing, matching and ``repr``, and are read-only;
    * they are in this package because the compiled parser turns an unfragmented data frame directly into a ``Message``,
      for its compiled callers only (``FrameParser.whole_messages``). ``feed`` returns frames in both implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.codec._framing_py import Frame, FrameParser, serialize_frame
    from wsframe.codec._masking_py import apply_mask, apply_mask_inplace, new_masking_key
    from wsframe.codec._message_py import Message
    from wsframe.codec._utf8_py import Utf8Validator
else:
    from wsframe.codec._framing_c import Frame, FrameParser, serialize_frame
    from wsframe.codec._masking_c import apply_mask, apply_mask_inplace, new_masking_key
    from wsframe.codec._message_c import Message
    from wsframe.codec._utf8_c import Utf8Validator

__all__ = [
    "Frame",
    "FrameParser",
    "Message",
    "Utf8Validator",
    "apply_mask",
    "apply_mask_inplace",
    "new_masking_key",
    "serialize_frame",
]
