"""The one lifecycle that every process of the platform has."""

from headrace.runtime.service.fast import FastAnswer, FastFunction, FastRequest, FastRoutes
from headrace.runtime.service.lifecycle import run
from headrace.runtime.service.model import Resources, Service

__all__ = ["FastAnswer", "FastFunction", "FastRequest", "FastRoutes", "Resources", "Service", "run"]
