"""Messages in and out of a connection: selects the compiled or the pure twin.

The contract of both twins: ``Messenger`` is the part of ``Connection`` that every message passes through. For every
sequence of calls, both twins behave the same. Rare events are left to the subclass: ``_receive_control``,
``_receive_fault`` and ``_send_close_frame``.

They stay a pair because one source compiled with a ``.pxd`` took 7.5 times the instructions per message of the compiled
twin; see docs/decisions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe.messages._messenger_py import Messenger
else:
    from wsframe.messages._messenger_c import Messenger

__all__ = ["Messenger"]
