"""What ``recv`` and ``send`` of coroutines do; selects the compiled or the pure twin. Rank 5.

The contract of both twins: ``QueueStream`` is a stream that queues messages for ``recv()``, where tasks wait by a
``Waiter``. Coroutines wait in the same cases. Whether ``recv()`` and ``send()`` return coroutines or other awaitables
that ``asyncio.iscoroutine`` accepts may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.asyncio._queue_py import QueueStream, Waiter
else:
    from wsframe.asyncio._queue_c import QueueStream, Waiter

__all__ = ["QueueStream", "Waiter"]
