"""Masking (RFC 6455 §5.3): selects the compiled or the pure twin. Rank 1.

The contract of both twins:

* ``apply_mask(data, mask) -> bytes``: any bytes-like object in, new bytes out;
* ``apply_mask_inplace(buffer, mask, phase=0)``: a writable, C-contiguous buffer, masked where it lies;
* ``new_masking_key() -> bytes``: 4 bytes from a pool of ``os.urandom``, fresh after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe._masking_py import apply_mask, apply_mask_inplace, new_masking_key
else:
    from wsframe._masking_c import apply_mask, apply_mask_inplace, new_masking_key

__all__ = ["apply_mask", "apply_mask_inplace", "new_masking_key"]
