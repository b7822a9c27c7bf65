"""The two environment switches, read by ``setup.py`` and at import. Imports only the standard library."""

from __future__ import annotations

import os

__all__ = ["read_switches"]


def read_switches() -> tuple[bool, bool]:
    """Read ``WSFRAME_NO_EXTENSIONS`` and ``WSFRAME_REQUIRE_EXTENSIONS`` from the environment.

    Returns:
        Whether extensions are unwanted, and whether they are required.

    Raises:
        ValueError: If a switch is neither ``0`` nor ``1``, or if both are ``1``.
    """
    values = []
    for name in ("WSFRAME_NO_EXTENSIONS", "WSFRAME_REQUIRE_EXTENSIONS"):
        value = os.environ.get(name, "0")
        if value not in ("0", "1"):
            raise ValueError(f"{name} must be 0 or 1, not {value!r}")
        values.append(value == "1")
    no_extensions, require_extensions = values
    if no_extensions and require_extensions:
        raise ValueError("WSFRAME_NO_EXTENSIONS=1 and WSFRAME_REQUIRE_EXTENSIONS=1 contradict each other")
    return no_extensions, require_extensions
