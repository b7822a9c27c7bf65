"""WebSocket for programs with threads instead of an event loop; ``client`` has what they need. Rank 5."""
