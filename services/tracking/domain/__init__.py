"""Runs, metrics, logged models: their types, rules and search grammar. No I/O."""
