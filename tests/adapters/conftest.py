"""Hosts over loopback: ``async def`` tests run on asyncio and on uvloop, as in ``tests/asyncio``."""

from __future__ import annotations

import sys

from support import certificate, client_tls, pytest_generate_tests, pytest_pyfunc_call, server_tls

__all__ = ["certificate", "client_tls", "pytest_generate_tests", "pytest_pyfunc_call", "server_tls"]

# What can be patched has no release for older ones.
collect_ignore = ["test_tornado.py", "test_websockets.py"] if sys.version_info < (3, 11) else []
