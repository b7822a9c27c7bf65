"""Frames to messages and messages to frames, and the closing handshake (RFC 6455 §5.4 to §7), without I/O.

It turns bytes from the peer into events, and messages from the application into bytes to send. It does not perform the
opening handshake (see ``wsframe.opening``), and it never reads, writes or waits.

``connection``   a connection without I/O: ``wsframe.Connection``, states, Close frames, failures
``messenger``    the part of it that every message passes through; has a compiled and a pure twin
``events``       the events that a connection returns
``prepared``     messages encoded once and sent to many peers
``facade``       attributes that every connection with I/O has
``pings``        pings that are not answered yet, and when to send one
``streaming``    messages received fragment by fragment
``stats``        counters
``frame_log``    one line per frame, for logs
"""
