"""The database's contract on PostgreSQL."""

from __future__ import annotations

import pytest

from headrace.runtime.bus.postgres import Postgres
from tests.contract.bus.database import DatabaseContract


class TestRealDatabase(DatabaseContract):
    @pytest.fixture
    def database(self, postgres: Postgres) -> Postgres:
        return postgres
