"""The transport of a simulation over workers that a test plays: drop-outs, lost workers, late answers."""

import pytest
from flwr.app import Message

from edgeveil.coordinator.machine.transport import Lost
from edgeveil.coordinator.simulation.transport import SimulatedTransport
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.flower import managing
from edgeveil.shared.flower.codec import decode_request, encode_reply
from edgeveil.shared.wire.messages import Attempt, Reply, Request, Stage

AGENTS = [bytes([number]) * 16 for number in range(40)]
FIRST = Attempt("sim-1", 1, 1)


class Played:
    """Answers with `body`, or as a process that has died."""

    count = 1

    def __init__(self):
        self.queue, self.dead, self.body = [], False, b"yes"

    def submit(self, seat, message, context):
        self.queue.append((seat, message, context))

    def collect(self, timeout_s):
        taken, self.queue = self.queue, []
        return [(seat, None if self.dead else self.answer(message)) for seat, message, _ in taken]

    def answer(self, message):
        if message.metadata.message_type == managing.MESSAGE:
            return Message(managing.encode({"fault": "no records"}), reply_to=message)
        request = decode_request(message.content)
        reply = Reply(request.stage, request.attempt, self.body, None, bytes(64))
        return Message(encode_reply(reply), reply_to=message)

    def forget(self):
        self.kept, self.queue = self.queue, []


@pytest.fixture
def workers():
    return Played()


def transport(workers, tmp_path, **how):
    made = SimulatedTransport(workers, [tmp_path / str(n) for n in range(len(AGENTS))], **how)
    made.seat(AGENTS)
    return made


def offers(agents=AGENTS, stage=Stage.ROUND, attempt=FIRST, bulk=b"model"):
    return {agent: Request(stage, attempt, b"body", bytes(64), bulk) for agent in agents}


def test_every_request_is_answered_and_its_bytes_are_counted(workers, tmp_path):
    wire = transport(workers, tmp_path)
    assert wire.send(offers(), ttl_s=1.0) == set(AGENTS)
    assert {each.reply.body for each in wire.receive(1.0)} == {b"yes"}
    assert wire.take_traffic() == (40 * (3 + 64), 40 * (4 + 64 + 5))
    assert wire.take_traffic() == (0, 0)


def test_each_device_is_reached_in_its_own_home(workers, tmp_path):
    transport(workers, tmp_path).send(offers(AGENTS[7:8]), ttl_s=1.0)
    ((seat, _, context),) = workers.queue
    assert (seat, context.node_config[managing.HOME]) == (7, str(tmp_path / "7"))


def test_the_same_seed_loses_the_same_devices_and_about_as_many_as_asked(workers, tmp_path):
    def lost(seed, stage, attempt=FIRST):
        wire = transport(workers, tmp_path, dropout=0.5, seed=seed)
        wire.send(offers(stage=stage, attempt=attempt), ttl_s=1.0)
        workers.queue.clear()
        return {each.agent_id for each in wire.receive(0.0)}

    early, late = lost(1, Stage.ROUND), lost(1, Stage.AGREE)
    assert early < late
    assert 10 < len(late) < 30
    assert late == lost(1, Stage.UNMASK)
    assert late == lost(1, Stage.AGREE, Attempt("sim-2", 1, 1))
    assert late != lost(2, Stage.AGREE)


def test_devices_of_a_process_that_died_are_lost_for_that_request_alone(workers, tmp_path):
    wire = transport(workers, tmp_path)
    workers.dead = True
    wire.send(offers(), ttl_s=1.0)
    assert {each.lost for each in wire.receive(1.0)} == {Lost.FAILED}
    workers.dead = False
    wire.send(offers(), ttl_s=1.0)
    assert all(each.reply for each in wire.receive(1.0))


def test_an_answer_of_an_attempt_that_is_over_is_nobodys(workers, tmp_path):
    wire = transport(workers, tmp_path)
    wire.send(offers(AGENTS[:1]), ttl_s=1.0)
    wire.forget()
    late = workers.kept
    wire.send(offers(AGENTS[:1], attempt=Attempt("sim-1", 1, 2)), ttl_s=1.0)
    workers.queue = late + workers.queue
    (found,) = wire.receive(1.0)
    assert found.reply.attempt.attempt == 2


def test_an_answer_that_is_no_reply_is_malformed(workers, tmp_path):
    wire = transport(workers, tmp_path)
    workers.answer = lambda message: Message(managing.encode({}), reply_to=message)
    wire.send(offers(AGENTS[:1]), ttl_s=1.0)
    assert [each.lost for each in wire.receive(1.0)] == [Lost.MALFORMED]


def test_a_device_that_cannot_be_set_up_is_named_with_its_reason(workers, tmp_path):
    with pytest.raises(RunFailed, match="simulated device 3: no records"):
        transport(workers, tmp_path).manage({2: {"ask": "start"}})


def test_a_process_that_dies_while_devices_are_set_up_ends_the_command(workers, tmp_path):
    workers.dead = True
    with pytest.raises(RunFailed, match="memory may not hold so many"):
        transport(workers, tmp_path).manage({2: {"ask": "start"}})
