"""From the messages of a queue to what ``recv_streaming`` gives. Rank 4."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wsframe.constants import Opcode
from wsframe.events import Message

if TYPE_CHECKING:
    from wsframe.core import Core

__all__ = ["FragmentReader", "give_back"]


class FragmentReader:
    """Cut one message into its fragments, and decode them.

    Args:
        decode: True for str and False for bytes, whatever the message is; None for str if it is text.

    Attributes:
        done: Whether the last fragment has been given.
    """

    def __init__(self, decode: bool | None) -> None:
        self.done = False
        self._decode = decode
        # A character may be cut by the end of a fragment.
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, message: Message) -> Iterator[str | bytes]:
        """Give the fragments in a message, or in one of its parts.

        Raises:
            UnicodeDecodeError: If they are to be text and are not UTF-8.
        """
        if self._decode is None:
            self._decode = message.opcode is Opcode.TEXT
        lengths = message.lengths or (len(message.payload),)
        end = 0
        for left, length in zip(range(len(lengths) - 1, -1, -1), lengths, strict=True):
            start, end = end, end + length
            fragment = message.payload[start:end]
            self.done = message.fin and not left
            yield self._decoder.decode(fragment, message.fin and not left) if self._decode else fragment


def give_back(queue: deque[Message], core: Core) -> None:
    """Have the message handed out whole after all of which fragments are in the queue."""
    fragments: list[Message] = []
    for message in queue:
        fragments.append(message)
        if message.fin:
            break
    joined = core.join_message(fragments)
    # Now that nothing can fail any more.
    for _ in fragments:
        queue.popleft()
    if joined is not None:
        queue.appendleft(joined)
