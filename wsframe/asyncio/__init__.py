"""WebSocket servers and clients on asyncio. Rank 5: everything that knows of event loops, sockets and clocks."""
