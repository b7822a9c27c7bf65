"""A server behind nginx, on a Unix socket: ``python behind_nginx.py app.sock``, with nginx.conf in the same directory.

nginx puts the client's address in a header. Only nginx can connect to the socket, so clients cannot forge the header.
"""

import asyncio
import sys

import wsframe


async def handler(websocket):
    client = websocket.request.headers["X-Real-IP"]
    async for message in websocket:
        await websocket.send(f"Echo for {client}: {message}")


async def main(path):
    async with wsframe.unix_serve(handler, path):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
