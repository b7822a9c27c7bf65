"""Only a name of ``websockets``: what is here lives in ``wsframe.opening.fields``."""

from wsframe.opening.fields import Headers, HeadersLike, MultipleValuesError

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]
