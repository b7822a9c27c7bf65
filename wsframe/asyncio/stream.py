"""A connection's data path: reads, messages, writes; selects the compiled or the pure twin. Rank 5.

The contract of both twins:

* ``Stream`` is an asyncio Protocol's way from a read to messages and from messages to a write; ``CallbackStream`` hands
  messages to ``message_received``, and ``QueueStream`` of ``queue`` keeps them for ``recv()``;
* the streams rely on ``BaseProtocol`` and its subclasses for what does not happen with every message: the methods that
  ``Stream`` declares abstract;
* messages, frames and bytes come in the same order. How many writes there are may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.asyncio._stream_py import CallbackStream, Stream
else:
    from wsframe.asyncio._stream_c import CallbackStream, Stream

__all__ = ["CallbackStream", "Stream"]
