"""One limit of time for many steps. Rank 5."""

from __future__ import annotations

import time

__all__ = ["Deadline"]


class Deadline:
    """A point in time by which something must be done.

    Args:
        timeout: Seconds from now; None for no limit.
    """

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def timeout(self, *, raise_if_elapsed: bool = True) -> float | None:
        """Return the seconds that are left, None for no limit.

        Args:
            raise_if_elapsed: False to return 0 or less when none are.

        Raises:
            TimeoutError: If none are.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if raise_if_elapsed and left <= 0:
            raise TimeoutError("timed out")
        return left
