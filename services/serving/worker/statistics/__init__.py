"""What was counted about each model version, by one worker and by all of a node.

One set of numbers feeds the statistics call, Prometheus and people, so they cannot disagree.
Each worker counts in memory that the others can read, so any of them can tell the sum.
"""

from services.serving.worker.statistics.counting import Execution, Statistics
from services.serving.worker.statistics.counts import (
    LATENCY_BOUNDS,
    BatchStatistics,
    Duration,
    ModelStatistics,
)
from services.serving.worker.statistics.ledger import Ledger
from services.serving.worker.statistics.node import NodeStatistics

__all__ = [
    "LATENCY_BOUNDS",
    "BatchStatistics",
    "Duration",
    "Execution",
    "Ledger",
    "ModelStatistics",
    "NodeStatistics",
    "Statistics",
]
