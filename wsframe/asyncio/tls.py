"""What TLS needs to know about our time limits. Rank 5."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["tls_timeouts"]


def tls_timeouts(
    options: dict[str, Any], open_timeout: float | None, close_timeout: float | None
) -> dict[str, float | None]:
    """Let the limits of the handshakes hold for those of TLS too, unless ``options`` says otherwise.

    Args:
        options: Keyword arguments for ``loop.create_server`` or ``loop.create_connection``.
        open_timeout: Seconds for the opening handshake.
        close_timeout: Seconds for the closing handshake.

    Returns:
        Keyword arguments to add.
    """
    timeouts = {"ssl_handshake_timeout": open_timeout}
    timeouts |= {"ssl_shutdown_timeout": close_timeout} if sys.version_info >= (3, 11) else {}
    # None would stand for asyncio's own default there, just as leaving them out does.
    return {name: value for name, value in timeouts.items() if value is not None and name not in options}
