"""HTTP: MLflow's registry calls, and governance for workers, people and the console."""

from __future__ import annotations

from fastapi import APIRouter

from services.registry.api import datasets, models, promotion_routes, webhook_deliveries
from services.registry.api.context import Context
from services.registry.api.mlflow import downloads, model_versions, registered_models, webhooks


def routers(context: Context) -> list[APIRouter]:
    """Everything that the registry answers."""
    mlflow = [
        module.router(context, prefix=prefix)
        for prefix in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
        for module in (registered_models, model_versions, webhooks)
    ]
    governance = [
        module.router(context)
        for module in (models, promotion_routes, datasets, webhook_deliveries)
    ]
    return [*mlflow, downloads.router(context), *governance]
