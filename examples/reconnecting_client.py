"""A client that comes back when the server does: stop and start one of the push servers, and see."""

import asyncio
import logging

import wsframe as websockets


async def main():
    # Tells when the next attempt is.
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    async for websocket in websockets.connect("ws://localhost:8765"):
        try:
            async for message in websocket:
                print(message)
        except websockets.ConnectionClosed as exc:
            print(f"lost: {exc}")


if __name__ == "__main__":
    asyncio.run(main())
