"""The version, read by ``pyproject.toml`` and by the package. Rank 0."""

VERSION = "0.1.0"
