"""Few writes for hosts that keep their own connections; ``stream`` does the same for ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsframe.limits import JOINED_BYTES

__all__ = ["Cork"]


class Cork:
    """Write frames at once, or hold them to write several in one piece.

    Frames are held between ``hold`` and ``release``, which belong at the begin and the end of a read, and after
    ``hold_for_turn`` until the end of the iteration of the event loop. At most 64 KiB are held.

    Args:
        write: Called with the bytes to write.

    Attributes:
        held: Whether frames are being held.
    """

    __slots__ = ("_frames", "_size", "_write", "held")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._frames: list[bytes] = []
        self._size = 0
        self.held = False

    def hold(self) -> None:
        """Hold frames from now on."""
        self.held = True

    def hold_for_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hold frames from now on, until the end of this iteration of the event loop."""
        if not self.held:
            loop.call_soon(self.release)
            self.held = True

    def write(self, data: bytes) -> None:
        """Write a frame, or hold it."""
        if not self.held:
            self._write(data)
            return
        self._frames.append(data)
        self._size += len(data)
        if self._size > JOINED_BYTES:
            self.flush()

    def keeps(self, size: int) -> bool:
        """Count a frame that the caller keeps; return False if it must write everything kept now."""
        if not self.held:
            return False
        self._size += size
        if self._size <= JOINED_BYTES:
            return True
        self._size = 0
        return False

    def flush(self) -> None:
        """Write the frames that are held."""
        frames = self._frames
        self._size = 0
        if frames:
            # Empty before writing, which may call the application.
            self._frames = []
            self._write(frames[0] if len(frames) == 1 else b"".join(frames))

    def release(self) -> None:
        """Write the frames that are held, and hold none from now on."""
        self.held = False
        self.flush()
