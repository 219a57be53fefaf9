"""Models that learn in the stream and are published as versions: a process of its own."""
