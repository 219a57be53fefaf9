"""SQL of the orchestrator, in named functions that take a connection."""
