"""A client without an event loop. Start one of the echo servers first."""

from wsframe.sync.client import connect


def main():
    with connect("ws://localhost:8765") as websocket:
        for message in ("Hello", "World"):
            websocket.send(message)
            print(f"> {message}")
            print(f"< {websocket.recv(timeout=10)}")


if __name__ == "__main__":
    main()
