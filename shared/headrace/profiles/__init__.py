"""Mergeable data profiles: written by training, read by monitoring.

A `DayStatistics` sums up one model version's predictions of one event-day; two of them add up
to the statistics of both sets of rows, so windows, shards and replays are sums. A
`TrainingProfile` is what such days looked like while the version was trained, with scores and
losses out of sample: the baseline that monitoring compares with.
"""

from headrace.profiles.performance import SCORE_BINS, PerformanceStatistics
from headrace.profiles.schema import CategoricalFeature, Columns, ProfileSchema
from headrace.profiles.statistics import DayStatistics, InputStatistics
from headrace.profiles.training import TrainingProfile

__all__ = [
    "SCORE_BINS",
    "CategoricalFeature",
    "Columns",
    "DayStatistics",
    "InputStatistics",
    "PerformanceStatistics",
    "ProfileSchema",
    "TrainingProfile",
]
