"""Five operating-system processes over TLS on loopback, read from outside and from their wires."""

import json
import signal

import numpy as np
import pytest
from load_bench import Stopwatch, slowed
from processes_bench import Machine, alive, run, wait_until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("federation"))
    try:
        made.serve()
        made.join_all()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def first_run(machine):
    return json.loads(machine.train(machine.plan(count=2)).stdout)


def test_two_rounds_are_committed_and_recorded_with_the_promised_fields(machine, first_run):
    rows = machine.rounds()
    assert [(row["round"], row["outcome"]) for row in rows] == [(1, "committed"), (2, "committed")]
    for row in rows:
        assert set(row) >= {
            "run", "round", "attempt", "outcome", "reason", "selected", "survived", "dropped", "metrics",
            "seconds", "bytes_up", "bytes_down", "model_sha256",
        }  # fmt: skip
        assert row["selected"] == row["survived"] == machine.names
        assert 0.3 < row["metrics"]["accuracy"] <= 1
    assert first_run["model_sha256"] == rows[-1]["model_sha256"]
    found = run("coordinator", "report", "--json", home=machine.home)
    assert json.loads(found.stdout)["rounds_committed"] == 2


def test_status_names_both_processes_and_every_agent(machine, first_run):
    status = machine.status()
    assert set(status) >= {
        "url",
        "ca_file",
        "pid",
        "superlink_pid",
        "run",
        "round",
        "stage",
        "agents",
    }
    assert alive(status["pid"])
    assert alive(status["superlink_pid"])
    assert {agent["state"] for agent in status["agents"]} == {"connected"}
    assert all(set(agent) == {"name", "state", "last_seen"} for agent in status["agents"])


def test_every_agent_charged_its_own_ledger(machine, first_run):
    for name in machine.names:
        budget = machine.budget(name)
        assert set(budget) >= {
            "dataset",
            "epsilon_spent",
            "epsilon_limit",
            "delta",
            "rounds",
            "ledger_head",
        }
        assert budget["rounds"] == 2
        assert 0 < budget["epsilon_spent"] < budget["epsilon_limit"] == 8.0


def test_the_decoded_sums_are_those_of_the_plain_integer_vectors_bit_for_bit(machine, first_run):
    lanes = [np.load(path)["lanes"] for path in sorted(machine.tap.glob("lanes-*.npz"))]
    sums = [np.load(path) for path in sorted(machine.tap.glob("sum-*.npy"))]
    assert (len(lanes), len(sums)) == (8, 2)
    assert np.array_equal(sum(sums), sum(lanes))
    weights = sum(
        int(each[0]) for each in lanes
    )  # of both rounds, in which the same four agents took part
    assert all(2 * each[0] == weights for each in sums)


def received_vectors(machine, size):
    """The bulk objects the coordinator process was given: the last `size` bytes of each large one."""
    found = [path.read_bytes() for path in sorted(machine.tap.glob("received-*.bin"))]
    return [
        np.frombuffer(content[-size:], np.uint8)
        for content in found
        if size <= len(content) <= size + 200
    ]


def test_what_the_coordinator_process_received_is_uniform_and_holds_no_update(machine, first_run):
    kept = [np.load(path) for path in sorted(machine.tap.glob("lanes-*.npz"))]
    bits = machine.rounds()[0]["extra"]["modulus_bits"]
    width = bits // 8
    vectors = received_vectors(machine, kept[0]["lanes"].size * width)
    assert len(vectors) == 8
    plain = [little_endian(each["lanes"], width) for each in kept]
    assert min(deviation(each) for each in plain) > 100, (
        "control: an unmasked vector is far from uniform"
    )
    for vector in vectors:
        assert deviation(vector) < 8  # uniform bytes exceed this once in 7e10 vectors
        lanes = signed(vector, width)
        for each in kept:
            control = correlation(
                signed(little_endian(each["lanes"], width), width), each["update"]
            )
            assert control > 0.95, "control: an unmasked vector is recognised"
            assert abs(correlation(lanes, each["update"])) < 5 / np.sqrt(lanes.size)


def test_no_plain_vector_is_among_the_received_bytes(machine, first_run):
    received = b"".join(path.read_bytes() for path in sorted(machine.tap.glob("received-*.bin")))
    for path in machine.tap.glob("lanes-*.npz"):
        kept = np.load(path)
        for width in (2, 3, 4):
            assert little_endian(kept["lanes"], width).tobytes()[:64] not in received
        assert kept["update"].astype("<f4").tobytes()[64:128] not in received


def test_killing_one_agent_in_the_middle_of_a_round_still_completes_it(machine, first_run):
    machine.stop("agent-4")
    machine.start_agent("agent-4", EDGEVEIL_DIE="masked@1")
    machine.wait_for("connected", 120)
    spent = machine.budget("agent-4")["epsilon_spent"]
    # A stage waits for the dead until its deadline, so that is short; a cold start must fit in it.
    deadline_s = min(20 * slowed(), 200)
    machine.train(machine.plan("killed.toml", count=1, epsilon=0.9, deadline_s=deadline_s))
    row = machine.rounds()[-1]
    assert row["outcome"] == "committed"
    assert row["survived"] == ["agent-1", "agent-2", "agent-3"]
    assert row["dropped"] == ["agent-4"]
    assert machine.processes.pop("agent-4").wait(timeout=60) == -signal.SIGKILL
    assert machine.budget("agent-4")["epsilon_spent"] > spent, "what was reserved stays charged"


def test_a_budget_survives_the_restart_and_the_agent_takes_part_again(machine, first_run):
    before = machine.budget("agent-4")
    machine.start_agent("agent-4")
    machine.wait_for("connected", 120)
    assert machine.budget("agent-4")["epsilon_spent"] == before["epsilon_spent"]
    # The same plan: of new ones the devices judge three within an hour.
    machine.train(machine.folder / "killed.toml", again=True)
    assert machine.rounds()[-1]["survived"] == machine.names
    assert machine.budget("agent-4")["rounds"] == before["rounds"] + 1


def test_a_second_process_on_the_same_state_is_told_so(machine, first_run):
    second = run("coordinator", "serve", home=machine.home, check=False)
    assert second.returncode == 75
    assert "in use by another running `coordinator serve`" in second.stderr
    other = run("agent", "run", home=machine.agent_home("agent-1"), check=False)
    assert other.returncode == 75
    assert "Traceback" not in second.stderr + other.stderr


def test_a_full_budget_is_refused_and_the_run_says_why(machine, first_run):
    found = machine.train(machine.plan("greedy.toml", count=50, epsilon=8.0), check=False)
    assert found.returncode == 77, "the same command does not work later"
    assert "nothing was begun: 0 of 4 agents" in found.stderr
    assert "(POLICY_SIGMA)" in found.stderr
    assert "plan more noise or fewer rounds" in found.stderr
    assert "would refuse (POLICY_SIGMA)" in machine.log("agent-1")


def test_the_same_records_under_another_name_get_no_second_budget(machine, first_run):
    machine.stop("agent-1")
    other = run(
        "agent", "run", "--dataset", "fresh", home=machine.agent_home("agent-1"), check=False
    )
    assert other.returncode == 77
    assert "already covered by the ledger of dataset 'data'" in other.stderr
    machine.start_agent("agent-1")
    machine.wait_for("connected", 120)


def test_kill_9_of_the_coordinator_takes_superlink_along_and_agents_come_back(machine, first_run):
    status = machine.status()
    machine.stop("coordinator", signal.SIGKILL)
    wait_until(lambda: not alive(status["superlink_pid"]), 60, "SuperLink to end with its parent")
    machine.serve()
    machine.wait_for("connected", 120)
    assert len([row for row in machine.rounds() if row["outcome"] == "committed"]) == 4


def test_sigterm_ends_everything_within_ten_seconds_and_leaves_no_process(machine, first_run):
    status = machine.status()
    pids = [process.pid for process in machine.processes.values()] + [status["superlink_pid"]]
    for name in list(machine.processes):
        with Stopwatch() as watch:
            assert machine.stop(name) == 0, machine.log(name)
        assert watch.within(10), f"{name}: {watch}"
    assert not any(alive(pid) for pid in pids)
    assert not (machine.home / "admin.sock").exists()
    assert (machine.home / "state.db").stat().st_mode & 0o077 == 0


def little_endian(lanes, width):
    return (lanes.astype("<i8")[:, None].view(np.uint8)[:, :width]).reshape(-1)


def signed(raw, width):
    wide = np.zeros((raw.size // width, 8), np.uint8)
    wide[:, :width] = raw.reshape(-1, width)
    value = wide.view("<i8").ravel()
    half = 1 << (8 * width - 1)
    return np.where(value >= half, value - 2 * half, value).astype(np.float64)[1:]


def deviation(raw):
    """Standard deviations between the byte counts and a uniform distribution."""
    found = np.bincount(raw, minlength=256)
    expected = raw.size / 256
    return (float(((found - expected) ** 2 / expected).sum()) - 255) / np.sqrt(510)


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])
