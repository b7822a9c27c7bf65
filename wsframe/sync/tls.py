"""TLS without I/O: ciphertext in, plaintext out, and the other way round. Rank 5.

An OpenSSL connection must not be used by two threads at once. Here whoever owns a layer does so under a lock, which
nobody holds while waiting for the network; and a layer may carry another one, to a server behind a proxy.
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
    """One TLS connection, as its client.

    Args:
        context: What is trusted and offered.
        server_hostname: The name that the server's certificate must have.

    Attributes:
        ssl_object: What tells about the connection: ``version()``, ``cipher()``, ``getpeercert()`` and so on.
        ended: Whether the server sends no more.
    """

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self.ended = False

    def receive(self, data: bytes) -> None:
        """Take ciphertext from the server; none stands for the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def shake_hands(self) -> bool:
        """Go on with the TLS handshake; tell whether it is done.

        Raises:
            ssl.SSLError: If it fails; ``data_to_send`` then tells the server.
        """
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self) -> bytes:
        """Return the plaintext of what was received, and set ``ended`` where it ends."""
        pieces = []
        try:
            while piece := self.ssl_object.read(_READ_SIZE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # WebSocket has a closing handshake of its own, which a cut stream does not have.
            self.ended = True
        return b"".join(pieces)

    def encrypt(self, data: Buffer) -> None:
        """Encrypt plaintext."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.ssl_object.write(view) :]

    def end_writing(self) -> None:
        """Have ``data_to_send`` end with the alert that ends the stream in our direction (RFC 8446 §6.1)."""
        with contextlib.suppress(ssl.SSLError):
            # It waits for the peer's alert in vain, which is not the business of who sends.
            self.ssl_object.unwrap()

    def data_to_send(self) -> bytes:
        """Return the ciphertext to send now."""
        return self._outgoing.read()


class TLSSocket:
    """What both a socket and the TLS on it have to tell."""

    def __init__(self, sock: socket.socket, ssl_object: ssl.SSLObject) -> None:
        self._sock = sock
        self._ssl_object = ssl_object

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl_object if hasattr(self._ssl_object, name) else self._sock, name)
