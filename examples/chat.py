"""A chat: what one says, all others hear; try ``wsframe connect ws://localhost:8765`` in two terminals."""

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
    # gather: one slow client does not keep the others waiting; one that is gone is not an error.
    others = [client.send(text) for client in clients if client is not sender]
    await asyncio.gather(*others, return_exceptions=True)


async def main():
    async with wsframe.serve(handler, "localhost", 8765):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
