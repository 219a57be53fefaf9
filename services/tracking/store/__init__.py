"""SQL of the tracking service: named functions that take a connection."""
