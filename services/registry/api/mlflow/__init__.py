"""MLflow's model registry REST, as an unmodified client speaks it.

Source: mlflow.protos.service (model_registry.proto) and mlflow.server.handlers.
"""
