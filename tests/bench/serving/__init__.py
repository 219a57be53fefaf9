"""Serving's promises of speed, beside MLServer and KServe's own server on the same models."""
