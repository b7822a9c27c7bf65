"""An echo server with TLS: ``python tls_server.py cert.pem key.pem``.

To create a certificate for testing: ``openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost
-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem``. Clients then need
``ssl.create_default_context(cafile="cert.pem")``.
"""

import asyncio
import ssl
import sys

import wsframe


async def handler(websocket):
    async for message in websocket:
        await websocket.send(f"Echo: {message}")


async def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with wsframe.serve(handler, "localhost", 8765, ssl=context):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
