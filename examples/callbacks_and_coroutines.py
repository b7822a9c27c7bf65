"""The same echo server with coroutines and with callbacks, and the throughput of each on this machine.

Coroutines read better and have backpressure. Callbacks take less time per message but cannot wait for a slow peer.
"""

import asyncio
import time

import wsframe

MESSAGES = 20_000


async def coroutine(websocket):
    async for message in websocket:
        await websocket.send(message)


class Callback(wsframe.WebSocketProtocol):
    def message_received(self, data):
        self.send(data)


async def measure(name):
    async with wsframe.connect("ws://localhost:8765", compression=None) as websocket:

        async def send():
            for _ in range(MESSAGES):
                await websocket.send("Hello")

        start = time.perf_counter()
        sending = asyncio.create_task(send())
        for _ in range(MESSAGES):
            assert await websocket.recv() == "Hello"
        await sending
    print(f"{name}: {MESSAGES / (time.perf_counter() - start):,.0f} messages a second, client included")


async def main():
    async with wsframe.serve(coroutine, "localhost", 8765, compression=None):
        await measure("coroutines")
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Callback(compression=None), "localhost", 8765):
        await measure("callbacks")


if __name__ == "__main__":
    asyncio.run(main())
