"""What monitoring does with the events it consumes."""

from services.monitoring.handlers.context import Context
from services.monitoring.handlers.deployments import on_model_deployed
from services.monitoring.handlers.labels import on_labels_observed
from services.monitoring.handlers.predictions import on_predictions_logged

__all__ = ["Context", "on_labels_observed", "on_model_deployed", "on_predictions_logged"]
