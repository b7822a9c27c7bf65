"""Types of wsproto's API. Rank 6."""

from __future__ import annotations

__all__ = ["Headers"]

Headers = list[tuple[bytes, bytes]]
"""HTTP headers: names and values."""
