import logging
import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from flwr.supercore.task_identity import TaskIdentity

from edgeveil.coordinator.learning.strategies import STRATEGIES, Settings, apply
from edgeveil.shared.base.errors import ConfigError, ProtocolError, RefusalCode

MODEL = np.array([1, 2, 3], dtype=np.float32)


def rounds_of_clients(rounds=6, size=200, clients=4):
    """The trained minus the start of each client, the same whatever the model is."""
    source = np.random.default_rng(5)
    return [source.normal(scale=0.1, size=(clients, size)) for _ in range(rounds)]


def test_rate_one_gives_the_plain_average_that_flower_computes():
    source = np.random.default_rng(0)
    start = source.normal(size=500).astype(np.float32)
    trained = [start + source.normal(size=500).astype(np.float32) for _ in range(4)]
    mean_update = np.mean([t.astype(np.float64) - start for t in trained], axis=0)
    ours = apply("fedavg", start, mean_update).model
    replies = [
        RecordDict({"arrays": ArrayRecord([vector]), "metrics": MetricRecord({"num-examples": 1})})
        for vector in trained
    ]
    theirs = aggregate_arrayrecords(replies, "num-examples").to_numpy_ndarrays()[0]
    assert ours.dtype == np.float32
    assert np.allclose(ours, theirs, atol=1e-6)


FLOWER = {
    "fedavgm": lambda: FedAvgM(server_learning_rate=0.3, server_momentum=0.8),
    "fedadam": lambda: FedAdam(eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedyogi": lambda: FedYogi(eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedadagrad": lambda: FedAdagrad(eta=0.05, tau=1e-2),
}
RATES = {"fedavgm": 0.3}


@pytest.mark.parametrize("name", sorted(FLOWER))
def test_six_rounds_are_those_of_flowers_own_strategy(name, monkeypatch):
    for field in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, field, 1, raising=False)
    logging.disable(logging.CRITICAL)
    theirs_strategy = FLOWER[name]()
    settings = Settings(RATES.get(name, 0.05), 0.8, 0.95, 1e-2)
    ours = np.random.default_rng(1).normal(size=200).astype(np.float32)
    theirs, state = ours.copy(), {}
    for number, clients in enumerate(rounds_of_clients(), start=1):
        applied = apply(
            name, ours, clients.mean(axis=0), state=state, settings=settings, number=number
        )
        ours, state = applied.model, applied.state
        theirs = _flower_round(theirs_strategy, theirs, clients, number)
        assert np.allclose(ours, theirs, atol=2e-6), f"{name}, round {number}"
    logging.disable(logging.NOTSET)


def _flower_round(strategy, model, clients, number):
    current = ArrayRecord({"w": Array(model.astype(np.float64))})
    if isinstance(strategy, FedAvgM):
        strategy.current_arrays = strategy.current_arrays or current
    else:
        strategy.current_arrays = {"w": model.astype(np.float64)}
    replies = [
        _reply(ArrayRecord({"w": Array(model.astype(np.float64) + update)})) for update in clients
    ]
    arrays, _ = strategy.aggregate_train(number, replies)
    return arrays["w"].numpy().astype(np.float32)


def _reply(arrays):
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, dst_node_id=random.randrange(1, 1 << 60), message_type="train")


def test_the_learning_rate_and_the_factor_scale_the_step_and_the_input_is_left_alone():
    before = MODEL.copy()
    result = apply(
        "fedavg", MODEL, np.array([4.0, -4.0, 0.0]), settings=Settings(0.5), factor=0.5
    ).model
    assert result.tolist() == [2, 1, 3]
    assert MODEL.tobytes() == before.tobytes()
    assert not np.shares_memory(result, MODEL)


def test_a_step_below_float32_resolution_is_rounded_once_and_not_lost_in_parts():
    model = np.array([1.0], dtype=np.float32)
    step = np.array([0.6 * 2.0**-23])
    assert apply("fedavg", model, step).model[0] == np.nextafter(np.float32(1), np.float32(2))


def test_the_state_is_what_the_next_round_needs_and_the_old_one_is_left_alone():
    update = np.array([1.0, 2.0, 3.0])
    first = apply("fedadam", MODEL, update, number=1)
    kept = {name: values.copy() for name, values in first.state.items()}
    second = apply("fedadam", first.model, update, state=first.state, number=2)
    assert set(first.state) == {"first", "second"}
    assert all(values.dtype == np.float32 for values in second.state.values())
    assert all(np.array_equal(first.state[name], kept[name]) for name in kept)
    assert not np.array_equal(second.state["first"], first.state["first"])


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize(
    "mean_update",
    [
        np.array([0.0, np.nan, 0.0]),
        np.array([np.inf, 0.0, 0.0]),
        np.zeros(2),
        np.zeros((1, 3)),
    ],
)
def test_refuses_an_update_that_would_spoil_the_model(name, mean_update):
    with pytest.raises(ProtocolError, match="not usable") as caught:
        apply(name, MODEL, mean_update)
    assert caught.value.code is RefusalCode.MODEL_INVALID


def test_refuses_a_step_out_of_the_range_of_float32():
    with pytest.raises(ProtocolError, match="leave the range"):
        apply("fedavg", MODEL, np.array([1e300, 0.0, 0.0]))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_learning_rate_that_is_not_positive_and_finite(rate):
    with pytest.raises(ConfigError, match=r"server\.learning_rate"):
        Settings(rate)


def test_an_unknown_strategy_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'fedsgd' is unknown.*fedavg"):
        apply("fedsgd", MODEL, np.zeros(3))
    assert set(STRATEGIES) == {"fedavg", "scaffold", *FLOWER}  # Flower has no scaffold
