"""A chat with rooms: the path is the room, and each message goes to all other clients in it.

Run ``wsframe connect ws://localhost:8765/kitchen`` in two terminals.
"""

import asyncio
import collections

import wsframe

rooms = collections.defaultdict(set)


async def handler(websocket):
    name = websocket.request.path
    room = rooms[name]
    room.add(websocket)
    wsframe.broadcast(room, f"{len(room)} in {name}")
    try:
        async for message in websocket:
            # broadcast() does not wait for slow clients; Limits.max_send_buffer determines what happens to them.
            wsframe.broadcast(room - {websocket}, message)
    finally:
        room.discard(websocket)
        if not room:
            rooms.pop(name, None)


async def main():
    async with wsframe.serve(handler, "localhost", 8765):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
