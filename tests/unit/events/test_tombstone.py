"""A tombstone is an event about a key of a state topic, without data."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headrace.events import ModelAliasState, ModelPromoted
from headrace.events.topics import REGISTRY_ALIASES
from headrace.runtime.bus import Caller, Tx


def transaction() -> Tx:
    return Tx(connection=cast("Any", None), caller=Caller(correlation_id="turn", causation_id="c"))


def test_a_tombstone_is_keyed_and_chained_like_the_state_it_ends() -> None:
    tx = transaction()

    identity = tx.tombstone(ModelAliasState, "default", "flights", "champion")

    (gone,) = tx.outgoing
    assert (gone.id, gone.payload) == (identity, None)
    assert (gone.topic, gone.key) == (REGISTRY_ALIASES.name, "default/flights/champion")
    assert gone.type == "headrace.registry.ModelAliasState.v1"
    assert gone.headers["ce_subject"] == "flights"
    assert (gone.headers["ce_correlationid"], gone.headers["ce_causationid"]) == ("turn", "c")
    assert "content-type" not in gone.headers


def test_only_a_whole_key_of_a_state_can_end() -> None:
    with pytest.raises(ValueError, match="project, model, alias"):
        transaction().tombstone(ModelAliasState, "flights")
    with pytest.raises(ValueError, match="expected a state contract's key"):
        transaction().tombstone(ModelPromoted, "flights")
