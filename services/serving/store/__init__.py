"""SQL of serving: deployments and champions here, traffic in modules of its own."""

from __future__ import annotations

from services.serving.store.answering import champion_of, champions
from services.serving.store.deployments import (
    by_number,
    candidate_of,
    drop_candidates,
    drop_overtaken_promotions,
    history,
    is_newer,
    models,
    models_with_work,
    newest_of,
    next_work,
    take_order,
    unrestored,
)
from services.serving.store.flips import (
    begin_flip,
    fail,
    finish_flip,
    finish_warm,
    note_deployed_event,
    note_first_answer,
    note_native,
)
from services.serving.store.logging_rules import add_log_rules, log_rules
from services.serving.store.unloading import forget_unloaded, note_unloaded, unloaded

__all__ = [
    "add_log_rules",
    "begin_flip",
    "by_number",
    "candidate_of",
    "champion_of",
    "champions",
    "drop_candidates",
    "drop_overtaken_promotions",
    "fail",
    "finish_flip",
    "finish_warm",
    "forget_unloaded",
    "history",
    "is_newer",
    "log_rules",
    "models",
    "models_with_work",
    "newest_of",
    "next_work",
    "note_deployed_event",
    "note_first_answer",
    "note_native",
    "note_unloaded",
    "take_order",
    "unloaded",
    "unrestored",
]
