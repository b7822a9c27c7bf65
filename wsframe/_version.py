"""The version, read by ``pyproject.toml`` and by the package."""

VERSION = "0.1.0"
