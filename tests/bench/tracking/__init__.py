"""Tracking beside MLflow's own server: one machine, one PostgreSQL, one run."""
