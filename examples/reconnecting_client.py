"""A client that reconnects. To see it reconnect, stop and restart one of the push servers."""

import asyncio
import logging

import wsframe as websockets


async def main():
    # Log when the next attempt is due.
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    async for websocket in websockets.connect("ws://localhost:8765"):
        try:
            async for message in websocket:
                print(message)
        except websockets.ConnectionClosed as exc:
            print(f"lost: {exc}")


if __name__ == "__main__":
    asyncio.run(main())
