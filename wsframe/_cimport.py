"""Location of our C declarations, for third-party Cython modules."""

from __future__ import annotations

import os

__all__ = ["get_include"]


def get_include() -> str:
    """Return the folder with the ``.pxd`` files and C headers of the extension modules.

    Add it both to Cython's ``include_path`` and to the extension's ``include_dirs``.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_include")
    # In a source tree, they are in src.
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "src")
