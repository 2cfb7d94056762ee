"""Whatever the store promises it promises on both databases."""

import pytest
from enrollment_bench import TurnableClock
from postgres_bench import configure, needs_postgres

from edgeveil.coordinator.store.store import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def store(tmp_path, request):
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres")
        configure(tmp_path, postgres.url(postgres.new_database()))
    with Store.open(tmp_path, create=True, clock=TurnableClock()) as opened:
        yield opened
