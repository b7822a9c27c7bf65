"""wsaccel's two modules, with its names and arguments. Rank 6.

A program that looks for wsaccel when it starts takes them instead, if they are there before it is imported::

    import sys
    from wsframe.adapters import wsaccel

    sys.modules.update(
        {"wsaccel": wsaccel, "wsaccel.xormask": wsaccel.xormask, "wsaccel.utf8validator": wsaccel.utf8validator}
    )
"""

from wsframe.adapters.wsaccel import utf8validator, xormask

__all__ = ["utf8validator", "xormask"]
