"""Conversion of queued messages to the fragments that ``recv_streaming`` yields."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wsframe.constants import Opcode
from wsframe.messages.events import Message

if TYPE_CHECKING:
    from wsframe.messages.messenger import Messenger

__all__ = ["FragmentReader", "give_back"]


class FragmentReader:
    """Split one message into its fragments, and decode them.

    Args:
        decode: True for str and False for bytes, whatever the message is; None for str if the message is text.

    Attributes:
        done: Whether the last fragment has been yielded.
    """

    def __init__(self, decode: bool | None) -> None:
        self.done = False
        self._decode = decode
        # The end of a fragment may split a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, message: Message) -> Iterator[str | bytes]:
        """Yield the fragments of a message, or of a part of it.

        Raises:
            UnicodeDecodeError: If they are decoded as text and are not UTF-8.
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


def give_back(queue: deque[Message], core: Messenger) -> None:
    """Hand out whole, after all, the message whose fragments are in the queue."""
    fragments: list[Message] = []
    for message in queue:
        fragments.append(message)
        if message.fin:
            break
    joined = core.join_message(fragments)
    # Remove the fragments only now, when nothing can fail any more.
    for _ in fragments:
        queue.popleft()
    if joined is not None:
        queue.appendleft(joined)
