"""Real processes in one-machine mode with the operator's own certificate: who gets in, stays in, is put out."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from certificates_bench import Operator
from processes_bench import Machine, alive, run, wait_until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("door"), agents=5, init=("--one-machine",))
    (made.folder / "operator").mkdir()
    made.operator = Operator(made.folder / "operator")
    with (made.home / "coordinator.toml").open("a") as file:
        file.write(made.operator.toml())
    try:
        made.serve()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def joined(machine):
    """Four devices with tokens on their command lines; nobody signs anything by hand."""
    machine.tokens = invite(machine, *machine.names[:4])
    for name, data in zip(machine.names[:4], machine.pieces, strict=False):
        options = ("--data", data, "--policy", machine.folder / "policy.toml")
        machine.start_agent(name, "--join", machine.tokens[name], *options)
    wait_for(machine, "connected", *machine.names[:4])
    machine.cmdlines = b"".join(map(command_line, processes_of(machine)))
    return machine


def invite(machine, *names, hold=()):
    found = run("coordinator", "invite", "--json", *hold, *names, home=machine.home).stdout
    return {entry["name"]: entry["token"] for entry in json.loads(found)}


def agents(machine):
    found = json.loads(run("coordinator", "agents", "--json", home=machine.home).stdout)
    return {agent["name"]: agent["state"] for agent in found if agent["state"] != "revoked"}


def wait_for(machine, state, *names, seconds=120):
    wait_until(
        lambda: all(agents(machine).get(name) == state for name in names),
        seconds,
        lambda: f"{names}: {agents(machine)}",
    )


def processes_of(machine):
    """Every process that has this machine's folder on its command line, and its agents."""
    found = {process.pid for process in machine.processes.values()}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(machine.folder).encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found - {os.getpid()}


def command_line(pid):
    """Nothing when it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def signer_pid(machine):
    return next((pid for pid in processes_of(machine) if b"--watch" in command_line(pid)), None)


def files_of(folder):
    """Every file below, but those that come and go meanwhile: {path: content}."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[path] = path.read_bytes()
        except FileNotFoundError:
            continue
    return found


def test_whoever_joins_with_a_token_is_admitted_by_a_process_that_is_not_serve(joined):
    status = joined.status()
    signer = signer_pid(joined)
    assert signer not in {None, status["pid"]}
    events = (joined.home / "events.jsonl").read_text()
    assert events.count('"roster.import"') >= 1


def test_the_signer_comes_back_when_it_was_killed(joined):
    wait_until(lambda: signer_pid(joined), 60, "the signer")
    first = signer_pid(joined)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: signer_pid(joined) not in {None, first}, 60, "the signer to come back")


def test_a_killed_agent_is_polling_again_within_seconds_of_its_start(joined):
    joined.stop("agent-1", signal.SIGKILL)
    wait_until(lambda: agents(joined)["agent-1"] == "offline", 60, "the loss to be seen")
    log = joined.folder / "agent-1" / "out.log"
    before = log.stat().st_size
    process = joined.start_agent("agent-1")
    wait_until(lambda: b"connected to" in log.read_bytes()[before:], 120, "the connection")
    ran, kept_waiting, lived = times_of(process.pid)
    # 3 s on an idle machine, nearly all of it imports; scripts/bench_transport.py measures it.
    assert lived - ran - kept_waiting < 5, "it waited for something that was not a processor"
    wait_for(joined, "connected", "agent-1")


def times_of(pid):
    """Seconds in which its main thread ran, waited for a processor (as far as the kernel tells), and was alive."""
    main, ticks = Path(f"/proc/{pid}/task/{pid}"), os.sysconf("SC_CLK_TCK")
    fields = (main / "stat").read_text().rpartition(")")[2].split()
    ran, started = (int(fields[11]) + int(fields[12])) / ticks, int(fields[19]) / ticks
    told = main / "schedstat"
    queued = int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0
    return ran, queued, time.clock_gettime(time.CLOCK_BOOTTIME) - started


def test_a_held_device_waits_for_the_operators_yes(joined):
    token = invite(joined, "agent-5", hold=["--hold"])["agent-5"]
    options = ("--data", joined.pieces[4], "--policy", joined.folder / "policy.toml")
    joined.start_agent("agent-5", "--join", token, *options)
    wait_for(joined, "held", "agent-5")
    wait_until(lambda: "to approve this device" in joined.log("agent-5"), 60, "the sentence")
    run("coordinator", "agents", "approve", "agent-5", home=joined.home)
    wait_for(joined, "connected", "agent-5")


def test_a_renamed_agent_stays_connected(joined):
    pid = joined.processes["agent-5"].pid
    run("coordinator", "agents", "rename", "agent-5", "gate", home=joined.home)
    assert agents(joined)["gate"] == "connected"
    time.sleep(1)
    assert alive(pid)
    run("coordinator", "agents", "rename", "gate", "agent-5", home=joined.home)


def served_leaf(machine):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", machine.port), timeout=60) as plain,
        context.wrap_socket(plain) as channel,
    ):
        return channel.getpeercert(binary_form=True)


def test_certificates_are_rotated_in_a_run_without_a_failed_round(joined):
    before = served_leaf(joined)
    plan = joined.plan("rotation.toml", count=3, epsilon=2.0)
    submitted = run("coordinator", "run", "--detach", "--json", plan, home=joined.home)
    rotated = 0
    name = json.loads(submitted.stdout)["run"]

    def rows():
        return [row for row in joined.rounds() if row["run"] == name]

    deadline = time.monotonic() + 240
    while len(rows()) < 3 and time.monotonic() < deadline:
        leaf = ssl.PEM_cert_to_DER_cert(joined.operator.deploy().decode())
        wait_until(lambda leaf=leaf: served_leaf(joined) == leaf, 60, "the new leaf to be served")
        rotated += 1
    assert served_leaf(joined) != before
    assert rotated >= 1
    assert [(row["attempt"], row["outcome"], row["dropped"]) for row in rows()] == [
        (1, "committed", [])
    ] * 3


def test_a_revoked_agent_is_told_why_at_once_and_its_name_is_free(joined):
    process = joined.processes.pop("agent-5")
    run("coordinator", "agents", "revoke", "agent-5", home=joined.home)
    assert process.wait(timeout=60) == 77
    assert "has been revoked" in joined.log("agent-5")
    again = run("agent", "run", home=joined.agent_home("agent-5"), check=False)
    assert again.returncode == 77
    assert "revoked" in again.stderr
    token = invite(joined, "agent-5")["agent-5"]
    other = joined.folder / "other"
    run("agent", "join", token, "--data", joined.pieces[4], home=other)
    wait_until(lambda: agents(joined).get("agent-5") == "offline", 60, "the other device")
    run("coordinator", "agents", "revoke", "agent-5", home=joined.home)


def test_a_copied_device_is_fenced_with_an_alarm(joined):
    copy = joined.folder / "copy"
    subprocess.run(["cp", "-a", joined.agent_home("agent-4"), copy], check=True)
    clone = joined.spawn("copy", "agent", "run")
    original = joined.processes["agent-4"]
    # Equal counters are told apart by the tag; whoever is fenced ends with 77.
    wait_until(lambda: original.poll() is not None or clone.poll() is not None, 120, "a fenced one")
    fenced = original if original.poll() is not None else clone
    assert fenced.wait() == 77
    assert "newer process of this agent" in joined.log("agent-4") + joined.log("copy")
    joined.stop("copy", signal.SIGKILL)
    joined.stop("agent-4", signal.SIGKILL)
    log = joined.folder / "agent-4" / "out.log"
    before = log.stat().st_size
    again = joined.start_agent("agent-4")
    wait_until(
        lambda: again.poll() is not None or b"connected to" in log.read_bytes()[before:],
        120,
        "the original's next start",
    )
    if again.poll() is not None:  # it had the number of the copy's
        assert again.poll() == 77
        joined.start_agent("agent-4")
    wait_for(joined, "connected", "agent-4")


def secrets_of(machine):
    """Name → the bytes of every secret there is, in each spelling that could leak."""
    raw = {"federation": pem(machine.folder / "federation" / "federation.key")}
    raw["coordinator identity"] = (machine.home / "identity.key").read_bytes()
    raw["authority key"] = pem(machine.home / "tls" / "ca.key")
    raw["server key"] = pem(machine.operator.key)
    for name in machine.names[:4]:
        raw[f"{name} identity"] = (machine.agent_home(name) / "identity.key").read_bytes()
        raw[f"{name} node key"] = pem(machine.agent_home(name) / "node.key")
    found = {}
    for name, value in raw.items():
        found[name] = [value, value.hex().encode(), base64.b64encode(value).rstrip(b"=")]
    for name, token in machine.tokens.items():
        data = base64.urlsafe_b64decode(token[4:] + "=" * (-(len(token) - 4) % 4))
        secret = data[48:64]
        found[f"{name} token"] = [token.encode(), secret, secret.hex().encode()]
    return found


def pem(path):
    lines = path.read_text().splitlines()[1:-1]
    return base64.b64decode("".join(lines))


def test_no_secret_is_in_a_log_database_argument_or_report(joined):
    run("coordinator", "report", home=joined.home)
    skip = {"identity.key", "node.key", "ca.key", "federation.key", "operator.key", "server.key"}
    texts = {"argv": joined.cmdlines}
    for path, content in files_of(joined.folder).items():
        hidden = "tap" in path.parts or "operator" in path.parts or "runtime" in path.parts
        if path.name not in skip and not hidden:
            texts[str(path.relative_to(joined.folder))] = content
    assert any(name.endswith("state.db") for name in texts)
    assert any(name.endswith("report.json") for name in texts)
    assert any(name.endswith("agent.log") for name in texts)
    for name, spellings in secrets_of(joined).items():
        for where, text in texts.items():
            assert not any(each in text for each in spellings), f"{name} in {where}"


def test_no_key_file_and_no_folder_is_open_to_others(joined):
    for folder in (
        joined.home,
        joined.folder / "federation",
        *map(joined.agent_home, joined.names[:4]),
    ):
        assert folder.stat().st_mode & 0o077 == 0
        for path in files_of(folder):
            public = path.suffix == ".pem" or path.name in {"federation.pub", "out.log"}
            with contextlib.suppress(FileNotFoundError):
                assert public or path.stat().st_mode & 0o077 == 0, path


def test_only_the_signing_command_opens_the_federation_key():
    root = Path(__file__).resolve().parents[2]
    may = {
        "coordinator/cli/roster.py",
        "coordinator/federation/roster_files.py",
        "coordinator/simulation/enrolment.py",  # of made-up devices; no real home is simulated in
    }
    for path in (root / "coordinator").rglob("*.py"):
        if path.relative_to(root).as_posix() in may:
            continue
        found = re.findall(r"load_federation_key|open_federation_key", path.read_text())
        assert not found, path


def test_plain_http_is_refused_off_loopback(tmp_path):
    home = tmp_path / "c"
    run("coordinator", "init", "--url", "https://fl.example.org:8443", "--no-passphrase", home=home)
    found = run("coordinator", "serve", "--plain-http", home=home, check=False)
    assert found.returncode == 2
    assert "loopback address only" in found.stderr
