"""Hosts over loopback: ``async def`` tests run on asyncio and on uvloop, as in ``tests/asyncio``."""

from __future__ import annotations

from support import certificate, client_tls, pytest_generate_tests, pytest_pyfunc_call, server_tls

__all__ = ["certificate", "client_tls", "pytest_generate_tests", "pytest_pyfunc_call", "server_tls"]
