"""For all tests: names that are the same in every process, and the order in which files begin."""

import logging
import os

import postgres_bench
import pytest

# By the seconds that scripts/slowest.py showed: what takes longest begins first, so that no worker of
# `--dist loadfile` is left alone with it at the end.
LONGEST_FIRST = (
    "test_readme",
    "test_real_crashes",
    "test_real_federation",
    "test_bad_input",
    "test_pages_in_browser",
    "test_front_door",
    "test_crashes",
    "test_namespaces",
    "test_wheel",
    "test_transport_recovery",
    "test_in_process_federation",
    "test_hard_times",
    "test_flower_contract",
    "test_continued_models",
    "test_gateway_floods",
    "test_gateway_hostile_peers",
    "test_scaffold_rounds",
    "test_agent_clock",
    "test_agent_link",
    "test_gateway_strangers",
)


@pytest.fixture(autouse=True)
def own_umask():
    """Each test begins with the usual mask: the commands close theirs for the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def own_voice():
    """Each test is heard in full: a bench silences the whole process it runs in."""
    before = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    yield
    logging.disable(before)


def pytest_make_parametrize_id(val, argname):
    """Whatever bytes a parameter holds."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
    """In workers alone: who runs tests one by one wants the cheap ones first."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def postgres():
    """A server for as long as the tests of this process run; each test makes a database of its own."""
    with postgres_bench.running() as server:
        yield server
