"""``--impl=py`` leaves the compiled implementation out here too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .implementations import leave_out_compiled

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--impl") == "py":
        leave_out_compiled()
