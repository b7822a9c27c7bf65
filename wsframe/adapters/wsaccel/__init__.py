"""wsaccel's two modules, with the same names and arguments.

Install them before a program that looks for wsaccel is imported, and it uses them instead::

    import sys
    from wsframe.adapters import wsaccel

    sys.modules.update(
        {"wsaccel": wsaccel, "wsaccel.xormask": wsaccel.xormask, "wsaccel.utf8validator": wsaccel.utf8validator}
    )
"""

from wsframe.adapters.wsaccel import utf8validator, xormask

__all__ = ["utf8validator", "xormask"]
