"""The fixture that pytest finds through the entry point ``pytest11``.

The module imports nothing from the package until the fixture is used, since most pytest runs do not need it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wsframe.testing import Pair

__all__ = ["websocket_pair"]


def _websocket_pair() -> Callable[..., AbstractAsyncContextManager[Pair]]:
    """``wsframe.testing.connect_pair``: both ends of a connection in memory, with a clock that the test controls."""
    from wsframe.testing import connect_pair  # noqa: PLC0415 - see above

    return connect_pair


websocket_pair = pytest.fixture(_websocket_pair, name="websocket_pair")
