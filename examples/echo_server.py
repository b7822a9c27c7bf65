"""An echo server, with a handler that takes the path as a second argument."""

import asyncio

import wsframe as websockets


async def server_handler(websocket, path):
    print(f"open: {path}")
    try:
        async for message in websocket:
            await websocket.send(f"Echo: {message}")
    except websockets.ConnectionClosed as exc:
        print(f"closed: {exc}")


async def main():
    async with websockets.serve(server_handler, "localhost", 8765):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
