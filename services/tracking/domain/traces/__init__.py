"""Traces: what OTLP and MLflow say of them, and how their spans are kept."""
