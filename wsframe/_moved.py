"""Paths that inner modules had before the package was laid out by subject: importing one gives what is there now.

They were never public, but the package had no private names that said so. Nothing of ours uses them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["OLD_PATHS", "install"]

OLD_PATHS = {
    f"wsframe.{old}": f"wsframe.{new}"
    for old, new in {
        "_build": "_implementation",
        "_core_c": "messages._messenger_c",
        "_core_py": "messages._messenger_py",
        "_events_c": "codec._message_c",
        "_events_py": "codec._message_py",
        "_framing_c": "codec._framing_c",
        "_framing_py": "codec._framing_py",
        "_masking_c": "codec._masking_c",
        "_masking_py": "codec._masking_py",
        "_utf8_c": "codec._utf8_c",
        "_utf8_py": "codec._utf8_py",
        "asyncio._queue_c": "asyncio.datapath._queue_c",
        "asyncio._queue_py": "asyncio.datapath._queue_py",
        "asyncio._stream_c": "asyncio.datapath._stream_c",
        "asyncio._stream_py": "asyncio.datapath._stream_py",
        "asyncio.base": "asyncio.datapath.lifecycle",
        "asyncio.data_path": "asyncio.datapath.report",
        "asyncio.keepalive": "asyncio.datapath.keepalive",
        "asyncio.memory": "asyncio.datapath.memory",
        "asyncio.queue": "asyncio.datapath.queue",
        "asyncio.stream": "asyncio.datapath.stream",
        "asyncio.tls": "asyncio.datapath.ending",
        "cimport": "_cimport",
        "connection": "messages.connection",
        "core": "messages.messenger",
        "custom_headers": "opening.custom_fields",
        "deflate": "extensions.deflate",
        "events": "messages.events",
        "fragments": "messages.streaming",
        "frame_log": "messages.frame_log",
        "framing": "codec",
        "handshake": "opening.handshake",
        "headers": "opening.grammar",
        "heads": "opening.head_reader",
        "masking": "codec",
        "patching": "adapters.patching",
        "prepared": "messages.prepared",
        "stats": "messages.stats",
        "sync.utils": "sync.threads",
        "utf8": "codec",
    }.items()
}
_RENAMED = {
    "wsframe.connection": {"Connection": "SansIOConnection"},
    "wsframe.core": {"Core": "Messenger"},
    "wsframe._core_c": {"Core": "Messenger"},
    "wsframe._core_py": {"Core": "Messenger"},
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of ``OLD_PATHS``; comes after all other finders, so it costs nothing otherwise."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in OLD_PATHS else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        there = importlib.import_module(OLD_PATHS[name])
        if name in _RENAMED:
            new = {old: getattr(there, now) for old, now in _RENAMED[name].items()}
            vars(module).update({**vars(there), **new, "__name__": name, "__spec__": module.__spec__})
        else:
            # The import system returns what stands here afterwards.
            sys.modules[name] = there


def install() -> None:
    """Make the old paths importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
