"""Tests of the blocking API: connections linked by socket pairs, and servers that run in a thread."""

from __future__ import annotations

from support import certificate, client_tls, server_tls

__all__ = ["certificate", "client_tls", "server_tls"]
