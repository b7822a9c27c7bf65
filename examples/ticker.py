"""A ticker: sends the same figures to all clients ten times a second, and prepares each message only once."""

import asyncio
import json
import random

import wsframe


async def tick(server):
    price = 100.0
    while True:
        price += random.uniform(-1, 1)
        message = wsframe.PreparedMessage(json.dumps({"price": round(price, 2)}))
        wsframe.broadcast(server.connections, message)
        await asyncio.sleep(0.1)


async def handler(websocket):
    # Clients send nothing; wait until they disconnect.
    await websocket.wait_closed()


async def main():
    # Skip clients that do not read for a long time instead of waiting for them.
    limits = wsframe.Limits(max_send_buffer=64 * 1024, send_buffer_policy="drop")
    async with wsframe.serve(handler, "localhost", 8765, limits=limits) as server:
        await tick(server)


if __name__ == "__main__":
    asyncio.run(main())
