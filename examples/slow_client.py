"""Backpressure: a server that sends as fast as it can, and a client that reads ten messages a second.

The server's ``send`` waits once the buffers on the way are full, so neither side's memory grows.
"""

import asyncio

import wsframe

MESSAGE = bytes(100_000)


async def handler(websocket):
    sent = 0
    try:
        while True:
            await websocket.send(MESSAGE)
            sent += 1
    except wsframe.ConnectionClosed:
        print(f"the server sent {sent} messages")


async def main():
    async with (
        wsframe.serve(handler, "localhost", 8765, compression=None) as server,
        wsframe.connect("ws://localhost:8765", max_queue=4) as websocket,
    ):
        received = 0
        async for _ in websocket:
            received += 1
            if received % 5 == 0:
                (connection,) = server.connections
                waiting = connection.buffered_bytes // len(MESSAGE)
                print(f"received {received}, queued {websocket.queue_depth}, waiting to be sent {waiting}")
            if received == 20:
                break
            await asyncio.sleep(0.1)
        # Nobody needs the messages that are still in transit.
        websocket.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
