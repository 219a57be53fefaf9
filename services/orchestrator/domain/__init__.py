"""Rules of the orchestrator without I/O: the engine's and the retrain policy's."""
