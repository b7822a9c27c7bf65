"""Structured fuzzing: one generator, plain targets, an independent reference; ``python -m tests.fuzz --list``."""
