"""Types of wsproto's API."""

from __future__ import annotations

__all__ = ["Headers"]

Headers = list[tuple[bytes, bytes]]
"""HTTP headers: names and values."""
