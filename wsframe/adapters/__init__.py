"""wsframe in other projects' servers and clients: one module for each host.

Each module imports its host only when used, and only public names of wsframe. ``patching`` replaces parts of a host
with them, and documents the interface that each module here must have.
"""
