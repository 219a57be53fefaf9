"""Whether a broker may lead partitions: its port opens earlier, and clients would only retry.

DescribeCluster, version 0, in the Kafka protocol (kafka.apache.org/protocol): the answer lists the
brokers that are not fenced.
"""

import socket
import struct

from deploy.local.probes import SECONDS

_API_KEY, _API_VERSION, _CORRELATION_ID = 60, 0, 1
# Header version 2: key, version, correlation id, no client id, no tags; body: false, no tags.
_REQUEST = struct.pack(">hhihbbb", _API_KEY, _API_VERSION, _CORRELATION_ID, -1, 0, 0, 0)


def leads(port: int) -> bool:
    """Whether the broker on this loopback port is unfenced; raises OSError while none listens."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
        with connection.makefile("rb") as stream:
            size = stream.read(4)
            answer = stream.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    return bool(answer) and _brokers(answer) > 0


def _brokers(answer: bytes) -> int:
    # Header version 1 (correlation id, tags), throttle time and error code: 4 + 1 + 4 + 2 bytes.
    position = _skip_text(answer, _skip_text(answer, 11))
    controller_id = 4
    length, _ = _varint(answer, position + controller_id)
    return length - 1


def _skip_text(answer: bytes, position: int) -> int:
    """Where a compact string (its length + 1, then its bytes; 0 is null) ends."""
    length, position = _varint(answer, position)
    return position + max(0, length - 1)


def _varint(answer: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = answer[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
