"""Only a name from before: what is here lives in ``wsframe.testing.metrics``."""

from wsframe.testing.metrics import CONTENT_TYPE, metrics_endpoint, openmetrics

__all__ = ["CONTENT_TYPE", "metrics_endpoint", "openmetrics"]
