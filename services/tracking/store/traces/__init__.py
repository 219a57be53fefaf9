"""Traces in PostgreSQL."""
