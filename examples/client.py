"""A client. Start one of the echo servers first."""

import asyncio

import wsframe as websockets


async def main():
    uri = "ws://localhost:8765"
    async with websockets.connect(uri) as websocket:
        for message in ("Hello", "World"):
            await websocket.send(message)
            print(f"> {message}")
            print(f"< {await websocket.recv()}")


if __name__ == "__main__":
    asyncio.run(main())
