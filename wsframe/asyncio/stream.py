"""A connection's data path: reads, messages, writes; selects the compiled or the pure twin. Rank 5.

The contract of both twins:

* ``Stream`` is an asyncio Protocol's way from a read to messages and from messages to a write; ``CallbackStream`` hands
  messages to ``message_received``, ``QueueStream`` queues them for ``recv()``, where tasks wait by a ``Waiter``;
* the streams rely on ``BaseProtocol`` and its subclasses for what does not happen with every message: the methods that
  ``Stream`` declares abstract;
* messages, frames and bytes come in the same order, and coroutines wait in the same cases. How many writes there are,
  and whether ``recv()`` and ``send()`` return coroutines or other awaitables that ``asyncio.iscoroutine`` accepts, may
  differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.asyncio._stream_py import CallbackStream, QueueStream, Stream, Waiter
else:
    from wsframe.asyncio._stream_c import CallbackStream, QueueStream, Stream, Waiter

__all__ = ["CallbackStream", "QueueStream", "Stream", "Waiter"]
