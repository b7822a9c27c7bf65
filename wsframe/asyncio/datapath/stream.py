"""A connection's data path: reads, messages, writes; selects the compiled or the pure twin.

The contract of both twins:

* ``Stream`` is the part of an asyncio Protocol that turns reads into messages and messages into writes.
  ``CallbackStream`` passes messages to ``message_received``; ``QueueStream`` of ``queue`` keeps them for ``recv()``.
* The streams rely on ``BaseProtocol`` and its subclasses for work that does not occur with every message: the methods
  that ``Stream`` declares abstract.
* Messages, frames and bytes come in the same order. The number of writes may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.asyncio.datapath._stream_py import CallbackStream, Stream
else:
    from wsframe.asyncio.datapath._stream_c import CallbackStream, Stream

__all__ = ["CallbackStream", "Stream"]
