"""The chunk follows the memory this device has free, within bounds, and the reason is told."""

import logging

import dp_bench as bench
import numpy as np
import pytest

from edgeveil.agent.training import memory, training
from edgeveil.agent.training.engine_choice import choose
from edgeveil.agent.training.memory import LEAST, MOST, PART, UNKNOWN, chunk_memory
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import ArrayRecords


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes what the system says: (MemAvailable in kB, cgroup limit, cgroup use), None for absent."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)

    def say(available, limit=None, current=0):
        if available is not None:
            (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available} kB\n")
        if limit is not None:
            (tmp_path / "memory.max").write_text(str(limit))
            (tmp_path / "memory.current").write_text(str(current))

    return say


def test_a_part_of_the_free_memory_is_taken(system):
    system(2_000_000)
    assert chunk_memory() == (2_000_000 * 1024 // PART, "2.0 GB free")


def test_the_limit_of_a_container_counts(system):
    system(20_000_000, limit=1 << 30, current=1 << 29)
    assert chunk_memory()[0] == (1 << 29) // PART


@pytest.mark.parametrize("limit", ["max", None])
def test_no_limit_is_no_limit(system, limit):
    system(2_000_000, limit=limit)
    assert chunk_memory()[0] == 2_000_000 * 1024 // PART


def test_little_and_much_memory_stay_within_bounds(system):
    system(1000)
    assert chunk_memory()[0] == LEAST
    system(100_000_000)
    assert chunk_memory()[0] == MOST
    system(1000, limit=1, current=5)
    assert chunk_memory()[0] == LEAST


def test_a_system_that_says_nothing_gets_a_usual_value(system):
    system(None)
    assert chunk_memory() == (UNKNOWN, "free memory unknown")


def test_less_memory_means_smaller_chunks(system):
    system(100_000_000)
    whole = choose(bench.probe(bench.convolutional), {"hooks"})
    system(1)
    assert choose(bench.probe(bench.convolutional), {"hooks"}).chunk <= whole.chunk
    assert "records at a time, 102.4 GB free" in whole.reason


def test_the_reason_reaches_the_owners_log(caplog):
    task = registry.load(registry.newest("feature-head"))
    options = task.parse_options({})
    examples = ArrayRecords(np.zeros((2, 589), np.float32), np.zeros(2, np.int64))
    training._choices.clear()
    with caplog.at_level(logging.INFO, logger="edgeveil.agent"):
        choice = training.check_trainable(task, options, examples)
    assert choice.reason in caplog.text
    assert "ms of CPU per record on random data" in choice.reason
