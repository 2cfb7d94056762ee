"""The server side: orchestrates rounds and learns sums, never single updates."""
