import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from coordinator.strategies import STRATEGIES, FedAvg, create
from shared.errors import ConfigError, ProtocolError, RefusalCode

MODEL = np.array([1, 2, 3], dtype=np.float32)


def test_rate_one_gives_the_plain_average_that_flower_computes():
    random = np.random.default_rng(0)
    start = random.normal(size=500).astype(np.float32)
    trained = [start + random.normal(size=500).astype(np.float32) for _ in range(4)]
    mean_update = np.mean([t.astype(np.float64) - start for t in trained], axis=0)
    ours = FedAvg().apply(start, mean_update)
    replies = [
        RecordDict({"arrays": ArrayRecord([vector]), "metrics": MetricRecord({"num-examples": 1})})
        for vector in trained
    ]
    theirs = aggregate_arrayrecords(replies, "num-examples").to_numpy_ndarrays()[0]
    assert ours.dtype == np.float32
    assert np.allclose(ours, theirs, atol=1e-6)


def test_the_learning_rate_scales_the_step_and_the_input_is_left_alone():
    before = MODEL.copy()
    result = create("fedavg", 0.5).apply(MODEL, np.array([2.0, -2.0, 0.0]))
    assert result.tolist() == [2, 1, 3]
    assert MODEL.tobytes() == before.tobytes()
    assert not np.shares_memory(result, MODEL)


def test_a_step_below_float32_resolution_is_rounded_once_and_not_lost_in_parts():
    model = np.array([1.0], dtype=np.float32)
    step = np.array([0.6 * 2.0**-23])
    assert FedAvg().apply(model, step)[0] == np.nextafter(np.float32(1), np.float32(2))


@pytest.mark.parametrize(
    "mean_update",
    [
        np.array([0.0, np.nan, 0.0]),
        np.array([np.inf, 0.0, 0.0]),
        np.array([1e300, 0.0, 0.0]),
        np.zeros(2),
        np.zeros((1, 3)),
    ],
)
def test_refuses_an_update_that_would_spoil_the_model(mean_update):
    with pytest.raises(ProtocolError, match="not usable") as caught:
        FedAvg().apply(MODEL, mean_update)
    assert caught.value.code is RefusalCode.MODEL_INVALID


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_learning_rate_that_is_not_positive_and_finite(rate):
    with pytest.raises(ConfigError, match=r"strategy\.learning_rate"):
        create("fedavg", rate)


def test_an_unknown_strategy_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'fedsgd' is unknown.*fedavg"):
        create("fedsgd")
    assert create("fedavg") == FedAvg(1.0)
    assert list(STRATEGIES) == ["fedavg"]
