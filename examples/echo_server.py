"""An echo server."""

import asyncio

import wsframe as websockets


async def server_handler(websocket):
    print(f"open: {websocket.request.path}")
    try:
        async for message in websocket:
            await websocket.send(f"Echo: {message}")
    except websockets.ConnectionClosed as exc:
        print(f"closed: {exc}")


async def main():
    async with websockets.serve(server_handler, "localhost", 8765) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
