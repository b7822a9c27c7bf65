"""wsframe in other people's servers and clients: one module for each. Rank 6.

Each imports its host only when it is used, and nothing of wsframe but public names. ``wsframe.patching`` tells what a
module must have for ``wsframe.patch``.
"""
