"""Output tensors for readers that want a document whatever is in them: records and logs."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import orjson

from services.serving.documents.elements import data_of
from services.serving.documents.json_body import Object
from services.serving.worker.failure import Failure

ENCODING: Final = "content_type"
BASE64: Final = "base64"
"""The parameter by which MLServer says that BYTES are base64, and its value."""


def written(document: Object) -> bytes:
    """A document that may hold the data of tensors."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def output_document(name: str, datatype: str, shape: list[int], raw: bytes) -> Object:
    """One tensor with flat data; bytes that are no text are base64, as its parameter says."""
    tensor: Object = {"name": name, "shape": shape, "datatype": datatype}
    try:
        return tensor | {"data": data_of(raw, datatype, shape, name)}
    except Failure:
        encoded = b64encode(raw).decode()
        return tensor | {"parameters": {ENCODING: BASE64}, "data": [encoded]}
