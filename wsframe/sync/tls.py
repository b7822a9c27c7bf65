"""TLS without I/O: ciphertext in, plaintext out, and vice versa.

Two threads must not use an OpenSSL connection at once. Here, the owner of a layer uses it under a lock, which no thread
holds while waiting for the network. A layer may carry another one, to a server behind a proxy.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TLSLayer", "TLSSocket"]

_READ_SIZE = 64 * 1024


class TLSLayer:
    """The client side of one TLS connection.

    Args:
        context: The TLS context.
        server_hostname: The name that the server's certificate must have.

    Attributes:
        ssl_object: Describes the connection: ``version()``, ``cipher()``, ``getpeercert()`` and so on.
        ended: Whether the server has ended its stream.
    """

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self.ended = False

    def receive(self, data: bytes) -> None:
        """Accept ciphertext from the server; empty bytes mean the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def shake_hands(self) -> bool:
        """Continue the TLS handshake; return whether it is complete.

        Raises:
            ssl.SSLError: If it fails; ``data_to_send`` then returns the alert for the server.
        """
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self) -> bytes:
        """Return the plaintext received, and set ``ended`` if the stream ends."""
        pieces = []
        try:
            while piece := self.ssl_object.read(_READ_SIZE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # WebSocket has its own closing handshake, which a truncated stream lacks.
            self.ended = True
        return b"".join(pieces)

    def encrypt(self, data: Buffer) -> None:
        """Encrypt plaintext."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.ssl_object.write(view) :]

    def end_writing(self) -> None:
        """Queue, for ``data_to_send``, the alert that ends the stream in our direction (RFC 8446 §6.1)."""
        with contextlib.suppress(ssl.SSLError):
            # Raises because the peer's alert has not arrived, which does not matter to the sender.
            self.ssl_object.unwrap()

    def data_to_send(self) -> bytes:
        """Return the ciphertext to send now."""
        return self._outgoing.read()


class TLSSocket:
    """The attributes of both a socket and the TLS on it."""

    def __init__(self, sock: socket.socket, ssl_object: ssl.SSLObject) -> None:
        self._sock = sock
        self._ssl_object = ssl_object

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl_object if hasattr(self._ssl_object, name) else self._sock, name)
