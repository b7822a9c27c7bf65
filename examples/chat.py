"""A chat: each message goes to all other clients. Run ``wsframe connect ws://localhost:8765`` in two terminals."""

import asyncio

import wsframe

clients = set()


async def handler(websocket):
    name = "{}:{}".format(*websocket.remote_address[:2])
    clients.add(websocket)
    try:
        async for message in websocket:
            await tell_others(websocket, f"{name}: {message}")
    finally:
        clients.discard(websocket)


async def tell_others(sender, text):
    # With gather(), a slow client does not delay the others, and a client that has left is not an error.
    others = [client.send(text) for client in clients if client is not sender]
    await asyncio.gather(*others, return_exceptions=True)


async def main():
    async with wsframe.serve(handler, "localhost", 8765):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
