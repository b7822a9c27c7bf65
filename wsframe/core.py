"""Messages in and out of a connection: selects the compiled or the pure twin. Rank 4.

The contract of both twins: ``Core`` is the part of ``Connection`` that every message passes through, and behaves the
same in each of them for every sequence of calls. It relies on its subclass for what happens rarely:
``_receive_control``, ``_receive_fault`` and ``_send_close_frame``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._build import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe._core_py import Core
else:
    from wsframe._core_c import Core

__all__ = ["Core"]
