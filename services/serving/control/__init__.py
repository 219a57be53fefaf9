"""The control side: artifacts, proofs, workers, and the reconciler that brings them together."""
