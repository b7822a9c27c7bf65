"""A server that pushes a message every few seconds until the client leaves, with a handler that takes the path."""

import asyncio
import datetime as dt

import wsframe as websockets


async def server_handler(websocket, path):
    print(f"open: {path}")
    try:
        while True:
            now = dt.datetime.now(dt.timezone.utc)
            await websocket.send(f"It is {now:%H:%M:%S} UTC")
            await asyncio.sleep(2)
    except websockets.ConnectionClosed as exc:
        print(f"closed: {exc}")


async def main():
    async with websockets.serve(server_handler, "localhost", 8765):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
