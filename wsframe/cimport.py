"""Where a Cython module of somebody else's finds our C declarations. Rank 0."""

from __future__ import annotations

import os

__all__ = ["get_include"]


def get_include() -> str:
    """Return the folder with the ``.pxd`` files and C headers of the extension modules.

    It is for Cython's ``include_path`` and for the ``include_dirs`` of the extension, both.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_include")
    # A work tree has them where they are written.
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "src")
