"""Your own server: wsframe implements the protocol, you do the I/O. Here: blocking sockets, one thread per client."""

import contextlib
import socket
import threading

from wsframe import Connection, InvalidHandshake, Message, Role, ServerHandshake


def open_connection(sock):
    """Perform the opening handshake; return the connection and the bytes after the request, or None."""
    handshake = ServerHandshake()
    try:
        while (request := handshake.receive_data(data := sock.recv(65536))) is None:
            if not data:
                return None
        response = handshake.accept(request)
    except InvalidHandshake as exc:
        response = handshake.refuse(exc)
    sock.sendall(response.serialize())
    if response.status_code != 101:
        return None
    return Connection(Role.SERVER, subprotocol=handshake.subprotocol), handshake.unread


def serve_client(sock):
    with sock, contextlib.suppress(ConnectionError):
        opened = open_connection(sock)
        if opened is None:
            return
        connection, data = opened
        while True:
            for event in connection.receive_data(data):
                if isinstance(event, Message):
                    connection.send_text(f"Echo: {event.data}")
            # Your messages, and what the protocol requires: pongs and close frames.
            sock.sendall(connection.data_to_send())
            if connection.close_expected():
                return
            data = sock.recv(65536)
            if not data:
                return


def main():
    with socket.create_server(("localhost", 8765)) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve_client, args=[sock], daemon=True).start()


if __name__ == "__main__":
    main()
