"""ModelInfer over HTTP: JSON and binary tensors to the protocol's message, and its answer back."""

from services.serving.worker.rest.infer.call import infer

__all__ = ["infer"]
