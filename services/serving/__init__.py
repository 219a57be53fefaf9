"""Serving: a control process that speaks with the platform, and workers that answer predictions."""
