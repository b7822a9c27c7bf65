"""A server that shuts down gracefully on SIGTERM: clients receive code 1012, and handlers finish their work."""

import asyncio
import signal

import wsframe


async def handler(websocket):
    try:
        async for message in websocket:
            await websocket.send(f"Echo: {message}")
    finally:
        # The connection is closed; the server waits until the handler has cleaned up.
        await asyncio.sleep(0.1)
        print("handler done")


async def main():
    server = await wsframe.serve(handler, "localhost", 8765)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: server.close(code=1012, reason="restarting"))
    await server.wait_closed()
    print("server done")


if __name__ == "__main__":
    asyncio.run(main())
