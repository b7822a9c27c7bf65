"""An echo server with callbacks instead of coroutines, written as an ordinary asyncio Protocol."""

import asyncio

from wsframe import WebSocketProtocol


class Echo(WebSocketProtocol):
    def connection_open(self):
        print(f"open: {self.request.path}")

    def message_received(self, data):
        self.send(f"Echo: {data}")

    def connection_closed(self, code, reason):
        print(f"closed: {code} {reason}")


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "localhost", 8765)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
