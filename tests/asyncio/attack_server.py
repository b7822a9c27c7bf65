"""The server under attack: an echo server in a process of its own, whose memory and CPU time can be read.

Prints its port. Arguments: event loop, kind of server (``serve`` or ``protocol``), and a dict of options.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import logging
import os
import sys


async def main(kind, options):
    import wsframe

    if kind == "protocol":

        class Echo(wsframe.WebSocketProtocol):
            def message_received(self, data):
                self.send(data)

        server = await asyncio.get_running_loop().create_server(lambda: Echo(**options), "127.0.0.1", 0)
        sockets = server.sockets
    else:

        async def echo(websocket):
            if websocket.request.path == "/deaf":
                await websocket.wait_closed()
            async for message in websocket:
                await websocket.send(message)

        async def process_request(connection, request):
            # How the tests ask what errors there were and how many files are open.
            if request.path == "/state":
                gc.collect()
                return connection.respond(200, repr((errors, len(os.listdir("/proc/self/fd")))))
            return None

        server = await wsframe.serve(echo, "127.0.0.1", 0, process_request=process_request, **options)
        sockets = server.sockets
    print(sockets[0].getsockname()[1], wsframe.IMPLEMENTATION, flush=True)
    await asyncio.Future()


errors = []


class Collect(logging.Handler):
    def emit(self, record):
        errors.append(record.getMessage())


if __name__ == "__main__":
    logging.getLogger().addHandler(Collect(logging.ERROR))
    loop_kind, kind, options = sys.argv[1:]
    if loop_kind == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    loop.run_until_complete(main(kind, ast.literal_eval(options)))
