"""The protocol's REST twin: JSON, the binary tensor extension and raw bodies over HTTP.

Every call ends in the dispatcher's methods, as a gRPC call does, so that no rule exists twice: what
is here turns HTTP into the protocol's messages and back.
"""

from services.serving.worker.rest.answering import Limits
from services.serving.worker.rest.application import PREFIX, RestApplication

__all__ = ["PREFIX", "Limits", "RestApplication"]
