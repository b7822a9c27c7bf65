"""A server that SIGTERM ends gracefully: clients get code 1012, and handlers finish what they are at."""

import asyncio
import signal

import wsframe


async def handler(websocket):
    try:
        async for message in websocket:
            await websocket.send(f"Echo: {message}")
    finally:
        # Here the handler learns of the end, and it has the time that it takes.
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
