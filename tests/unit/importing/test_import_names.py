from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.imports.names import key_of, run_id_of, unique_keys
from services.tracking.domain.names import check_key, check_run_id


@given(st.text(max_size=400))
def test_every_name_becomes_a_key_that_is_allowed(name: str) -> None:
    assert check_key(key_of(name), path="key") == key_of(name)


@given(st.sets(st.text(alphabet="ab/.@#_ ", max_size=8), max_size=20))
def test_names_never_share_a_key(names: set[str]) -> None:
    keys = unique_keys(names)
    assert set(keys) == names
    assert len(set(keys.values())) == len(names)
    for key in keys.values():
        check_key(key, path="key")


@given(st.text(max_size=300))
def test_every_id_becomes_a_run_id_that_is_allowed(identity: str) -> None:
    assert check_run_id(run_id_of(identity)) == run_id_of(identity)


@pytest.mark.parametrize("key", ["loss", "train/loss", "a b:c-d.e_f", "größe"])
def test_a_fine_key_stays_as_it_is(key: str) -> None:
    assert key_of(key) == key


@pytest.mark.parametrize("identity", ["abc12345", "RUN-1", "0123456789abcdef0123456789abcdef"])
def test_a_fine_id_stays_as_it_is(identity: str) -> None:
    assert run_id_of(identity) == identity
