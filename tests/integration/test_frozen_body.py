"""A run that trains the head of an earlier model: what devices get, what they send, what stays as it was."""

import numpy as np
import onnx
import pytest
from fakes_federation import Federation, plan_for, proposal_of
from onnx import numpy_helper

from edgeveil.coordinator.models.graph import graph_of
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.runs.runs import open_run
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import all_tensors, frozen_tensors
from edgeveil.shared.vector.model_vector import count, model_hash, part
from edgeveil.shared.wire.messages import Attempt, RoundOffer, Stage, make_request

TASK = registry.load(registry.newest("image-classification"))
OPTIONS = TASK.parse_options({"variant": "cnn", "train": "head"})
HEAD, BODY = TASK.tensors(OPTIONS), frozen_tensors(TASK, OPTIONS)
EVERY = all_tensors(TASK, OPTIONS)
START = np.random.default_rng(5).normal(0, 0.1, count(EVERY)).astype(np.float32)


def plan(start, *, train="head", **changes):
    task = {"id": "image-classification", "options": {"variant": "cnn", "train": train}}
    named = {f"task__{key}": value for key, value in task.items()}
    return plan_for(4, **named, model__initial=str(start), training__learning_rate=1.0, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    start = folder / "start.safetensors"
    checkpoint.save(start, START, EVERY, {"task": "image-classification 1.2.0"})
    federation = Federation(folder)
    wanted = plan(start, evaluation__data=str(federation.test))
    driver = federation.train(wanted)
    yield federation, driver, wanted
    federation.close()


def offers(federation):
    return [each for _, each in federation.wire.requests if each.stage is Stage.ROUND]


def test_devices_get_head_and_body_and_send_as_many_numbers_as_the_head_has(made):
    federation, _, _ = made
    body = part(START, EVERY, BODY).tobytes()
    assert {bytes(each.frozen) for each in offers(federation)} == {body}
    assert {len(each.bulk) for each in offers(federation)} == {4 * count(HEAD)}
    (lanes,) = {
        Params.decode(RoundOffer.decode(each.body).params).lanes for each in offers(federation)
    }
    assert lanes == 1 + count(HEAD)
    assert count(HEAD) + count(BODY) == len(START)


def test_every_model_of_the_run_is_whole_its_body_unchanged_and_its_head_trained(made):
    _, driver, _ = made
    for number in (1, 2):
        saved = checkpoint.load(driver.run.folder / f"round-{number:04d}.safetensors")
        assert saved.tensors == EVERY
        assert np.array_equal(part(saved.vector, EVERY, BODY), part(START, EVERY, BODY))
        assert not np.array_equal(part(saved.vector, EVERY, HEAD), part(START, EVERY, HEAD))


def test_a_restart_goes_on_with_the_same_body_and_figures_are_of_the_whole_model(made):
    federation, driver, _ = made
    last = federation.store.rounds(driver.run.run_id)[-1]
    opened, learned, _ = open_run(federation.store, federation.home, federation.store.last_run())
    assert np.array_equal(learned.model, driver.learned.model)
    assert np.array_equal(opened.frozen.vector, part(START, EVERY, BODY))
    assert opened.evaluate(learned.published).metrics == last.metrics


def test_the_packaged_graph_computes_with_body_and_head_of_the_run(made):
    _, driver, _ = made
    saved = checkpoint.load(driver.run.folder / "round-0002.safetensors")
    data, _ = graph_of(TASK, OPTIONS, saved.vector)  # raises unless it is what torch computes
    weights = {
        each.name: numpy_helper.to_array(each)
        for each in onnx.load_from_string(data).graph.initializer
    }
    held = np.concatenate([each.ravel() for each in weights.values()])
    for tensors in (BODY, HEAD):
        assert np.isin(part(saved.vector, EVERY, tensors), held).all()


def test_a_later_run_goes_on_from_it_and_may_train_the_whole_model(made):
    federation, driver, _ = made
    federation.store.set_run_state(driver.run.run_id, RunState.FINISHED)
    later = plan(f"{driver.run.run_id}@last", train="all")
    opened, _ = federation.driver(later)
    saved = checkpoint.load(driver.run.folder / "round-0002.safetensors")
    assert np.array_equal(opened.learned.model, saved.vector)


def refusal(federation, driver, change):
    """What a device answers to an offer whose frozen part was changed on its way."""
    victim = min(federation.sessions)
    number = federation.store.open_attempt(driver.run.run_id, 2)
    attempt = Attempt(driver.run.run_id, 2, number)
    proposal = proposal_of(driver, attempt, tuple(sorted(federation.sessions)))
    offer = proposal.offers({}, [victim])[victim]
    request = make_request(
        federation.coordinator, victim, Stage.ROUND, attempt, offer.body, offer.bulk,
        change(bytes(offer.frozen)),
    )  # fmt: skip
    return federation.sessions[victim].handle(request).refusal


def test_a_body_that_the_coordinator_has_not_signed_is_refused(made):
    federation, driver, _ = made
    other = np.frombuffer(part(START, EVERY, BODY).tobytes(), "<f4") + np.float32(1)
    broken = other.copy()
    broken[3] = np.inf
    assert refusal(federation, driver, lambda _: other.tobytes()) == "CTX_MISMATCH"
    assert refusal(federation, driver, lambda _: None) == "CTX_MISMATCH"
    assert refusal(federation, driver, lambda _: broken.tobytes()) == "MODEL_INVALID"
    assert refusal(federation, driver, lambda raw: raw[:-4]) == "MODEL_INVALID"


def test_the_hash_of_a_model_with_a_frozen_part_is_another_than_without(made):
    _, driver, _ = made
    frozen = driver.run.frozen
    head = part(START, EVERY, HEAD)
    assert model_hash(head, HEAD, None, frozen) != model_hash(head, HEAD)
    assert model_hash(head, HEAD, None, frozen) != model_hash(START, EVERY)
