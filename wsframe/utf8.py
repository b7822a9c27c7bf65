"""Incremental UTF-8 validation (RFC 3629, RFC 6455 §8.1): selects the compiled or the pure twin. Rank 1.

The contract of both twins: ``Utf8Validator`` with ``feed(data) -> bool`` for C-contiguous bytes-like
objects, ``finish() -> bool`` and ``valid``. The verdict falls with the same byte for every cutting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe._utf8_py import Utf8Validator
else:
    from wsframe._utf8_c import Utf8Validator

__all__ = ["Utf8Validator"]
