"""Base classes of extensions under the names of ``websockets.extensions.base``. Rank 3."""

from __future__ import annotations

from wsframe.extensions import ClientExtensionFactory, Extension, ServerExtensionFactory

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]
