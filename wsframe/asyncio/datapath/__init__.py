"""The path from a readable socket to a resumed task and back: read once, run every task, write once.

``stream``     turns reads into messages and messages into writes: corking, joining, direct reads and writes; has twins
``queue``      messages waiting for ``recv()``, and tasks waiting for messages (``Waiter``); has twins
``lifecycle``  less frequent events: opening and ending a connection, pings, timers
``keepalive``  detects that the peer is gone
``cork``       few writes for hosts that have connections of their own
``ending``     ends the stream, with or without TLS
``memory``     returns memory to the system when connections close or become idle
``report``     describes the data path that an event loop uses, and why
"""
