"""Models that learn in the stream: river's estimators, their exact state as data, and replay.

The state of a model is a document of numbers. It is written and read without loss, so a model
that goes on from a document learns as if it had never been away, and whoever has the document of
a start and the examples after it makes the same model again.
"""

from headrace.learning.document import (
    Document,
    Lineage,
    Offsets,
    Parent,
    Tensor,
    decode_document,
    encode_document,
)
from headrace.learning.examples import Examples, decode_examples, encode_examples
from headrace.learning.plan import Plan
from headrace.learning.state import Scaler, State

__all__ = [
    "Document",
    "Examples",
    "Lineage",
    "Offsets",
    "Parent",
    "Plan",
    "Scaler",
    "State",
    "Tensor",
    "decode_document",
    "decode_examples",
    "encode_document",
    "encode_examples",
]
