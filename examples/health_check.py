"""WebSocket, a health check and metrics on one port: ``curl http://localhost:8765/healthz``, ``.../metrics``."""

import asyncio

import wsframe
from wsframe.testing.metrics import metrics_endpoint


async def handler(websocket):
    async for message in websocket:
        await websocket.send(f"Echo: {message}")


def health_check(connection, request):
    if request.path == "/healthz":
        return connection.respond(200, "OK\n")
    if request.path == "/drain":
        return connection.respond(503, "no more of you\n")
    return None  # continue the opening handshake


async def main():
    process_request = metrics_endpoint("/metrics", health_check)
    async with wsframe.serve(handler, "localhost", 8765, process_request=process_request):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
