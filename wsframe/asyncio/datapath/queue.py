"""``recv`` and ``send`` for coroutines; selects the compiled or the pure twin.

The contract of both twins: ``QueueStream`` is a stream that queues messages for ``recv()``, where tasks wait on a
``Waiter``. Coroutines wait in the same cases. ``recv()`` and ``send()`` may return coroutines in one twin and other
awaitables that ``asyncio.iscoroutine`` accepts in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.asyncio.datapath._queue_py import QueueStream, Waiter
else:
    from wsframe.asyncio.datapath._queue_c import QueueStream, Waiter

__all__ = ["QueueStream", "Waiter"]
