"""An agent as a process of its own, killed without warning: idle, and in the middle of a message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, Bench, await_true, federation

from edgeveil.shared.wire.messages import Stage

ROOT = Path(__file__).parents[2]

AGENT = """
import signal, sys, threading, time
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from edgeveil.agent.flower_link.client_app import build
from edgeveil.agent.flower_link.link import FlowerLink
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import make_reply
from edgeveil.shared.wire.roster import agent_id

home, url, session, delay = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
identity = Identity.load(home / "identity.key")

def handle(request):
    print("working", flush=True)
    time.sleep(delay)
    return make_reply(identity, agent_id(identity.public), request, b"done")

link = FlowerLink(
    url=url,
    ca_pem=(home / "ca.pem").read_bytes(),
    node_key=load_pem_private_key((home / "node.key").read_bytes(), None),
    signer=identity,
    session=session,
    app=build(handle),
    on_status=lambda line: print(line, flush=True),
    accepted=lambda reply: print("accepted", flush=True),
)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
link.run(stop)
print("torch" in sys.modules, flush=True)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with federation(1, links=False) as running:
        agent = running.agents[0]
        home = tmp_path_factory.mktemp("agent")
        agent.identity.save(home / "identity.key")
        (home / "ca.pem").write_bytes(running.certificate)
        (home / "node.key").write_bytes(
            agent.node_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        running.agent_home = home
        yield running


def start(bench: Bench, session: int, delay_s: float = 0.0) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            AGENT,
            str(bench.agent_home),
            bench.url,
            str(session),
            str(delay_s),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def connected(bench: Bench) -> bool:
    return bench.runtime.presence()[bench.agents[0].agent_id].connected


def test_a_killed_agent_is_missed_at_once_and_back_when_its_process_is(bench):
    first = start(bench, 1)
    await_true(lambda: connected(bench), PATIENCE_S, "it did not come up")
    bench.await_poll(bench.agents[0])
    with Stopwatch() as watch:
        first.kill()
        await_true(lambda: not connected(bench), PATIENCE_S, "nobody missed it")
    assert watch.within(2), watch
    first.wait()
    with Stopwatch() as watch:
        second = start(bench, 2)
        await_true(lambda: connected(bench), PATIENCE_S, "it did not come back")
    assert watch.within(10), watch  # about a second on an idle machine, nearly all imports
    (incoming,) = bench.exchange(bench.requests(Stage.SHARE))
    assert incoming.reply.body == b"done"
    second.terminate()
    assert second.wait(PATIENCE_S) == 0
    output = second.stdout.read()
    assert "accepted" in output
    assert "False" in output.splitlines()  # the link needs no torch
    assert not connected(bench)
    bench.runtime.forget()


def test_a_message_that_died_with_its_agent_is_answered_by_the_next_process(bench):
    bulk = os.urandom(20 << 20)
    first = start(bench, 3, delay_s=60)
    await_true(lambda: connected(bench), PATIENCE_S, "it did not come up")
    assert bench.runtime.send(bench.requests(Stage.ROUND, 2, bulk=bulk), ttl_s=200)
    for line in first.stdout:
        if line.strip() == "working":
            break
    first.kill()
    first.wait()
    second = start(bench, 4)
    (incoming,) = bench.collect(1)
    assert incoming.reply.body == b"done"
    second.terminate()
    assert second.wait(PATIENCE_S) == 0
    bench.runtime.forget()
    assert bench.gateway.store.bytes_held == 0
