"""Your own server on asyncio streams: wsframe implements the protocol. Typed, 40 lines."""

import asyncio

from wsframe import Connection, InvalidHandshake, Message, PerMessageDeflateFactory, Role, ServerHandshake


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    handshake = ServerHandshake(extensions=[PerMessageDeflateFactory()])
    try:
        while (request := handshake.receive_data(await reader.read(65536))) is None:
            if reader.at_eof():
                writer.close()
                return
        response = handshake.accept(request)
    except InvalidHandshake as exc:
        response = handshake.refuse(exc)
    writer.write(response.serialize())
    if response.status_code == 101:
        connection = Connection(Role.SERVER, extensions=handshake.extensions)
        data = handshake.unread
        while True:
            for event in connection.receive_data(data):
                if isinstance(event, Message):
                    connection.send_text(f"Echo: {event.data!s}")
            # Your messages, and what the protocol requires: pongs and close frames.
            writer.write(connection.data_to_send())
            await writer.drain()
            if connection.close_expected() or not (data := await reader.read(65536)):
                break
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve_client, "localhost", 8765)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
