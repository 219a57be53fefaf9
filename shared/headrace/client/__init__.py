"""For users of the platform: producing events, asking for predictions, calling its REST API."""

from headrace.client.events import EventProducer

__all__ = ["EventProducer"]
