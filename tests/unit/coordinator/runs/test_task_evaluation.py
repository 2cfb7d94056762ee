import numpy as np
import pytest
from catalogue_bench import VARIANTS, grey_digits, task_and_options, write_npz, write_png
from sklearn.metrics import f1_score, log_loss

from edgeveil.coordinator.runs import evaluation
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
from edgeveil.shared.base.errors import DataError, ProtocolError
from edgeveil.shared.vector.model_vector import count


@pytest.fixture
def test_set(tmp_path):
    pixels, labels = grey_digits(47)
    return write_npz(tmp_path / "test.npz", X=pixels, y=labels)


def test_scores_equal_those_computed_by_hand(test_set):
    task, options = task_and_options("feature-head", "fixed")
    vector = np.random.default_rng(0).normal(size=5890).astype(np.float32)
    found = Evaluator(task, options, test_set).evaluate(vector)
    examples = task.load(test_set, options)
    logits = examples.inputs.astype(np.float64) @ vector.reshape(10, 589).T
    predicted = logits.argmax(axis=1)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["examples"] == 47
    assert found["accuracy"] == pytest.approx((predicted == examples.targets).mean())
    expected = f1_score(examples.targets, predicted, average="macro", labels=range(10))
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["loss"] == pytest.approx(log_loss(examples.targets, chances), rel=1e-5)
    assert set(found) == {"accuracy", "macro_f1", "loss", "examples"}


@pytest.mark.parametrize(("task_id", "variant", "size"), VARIANTS)
def test_a_model_that_knows_nothing_scores_as_chance(task_id, variant, size, test_set):
    task, options = task_and_options(task_id, variant)
    vector, tensors = initial_model(task, options)
    assert vector.shape == (size,)
    assert count(tensors) == size
    assert tensors == task.tensors(options)
    found = Evaluator(task, options, test_set).evaluate(vector)
    assert found["loss"] == pytest.approx(np.log(10), rel=1e-5)  # every head starts at zero
    assert found["accuracy"] == pytest.approx(5 / 47)


def test_the_batch_size_changes_no_score_and_models_do_not_mix(test_set, monkeypatch):
    task, options = task_and_options("image-classification", "cnn")
    start, _ = initial_model(task, options)
    other = start + np.random.default_rng(1).normal(scale=0.2, size=20_586).astype(np.float32)
    evaluator = Evaluator(task, options, test_set)
    first, second = evaluator.evaluate(start), evaluator.evaluate(other)
    assert first != second
    monkeypatch.setattr(evaluation, "BATCH", 7)
    assert evaluator.evaluate(start) == pytest.approx(first)
    assert evaluator.evaluate(other) == pytest.approx(second)


def test_a_test_set_with_broken_records_is_used_without_them_and_they_are_named(tmp_path, capsys):
    pixels, labels = grey_digits(20)
    for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        write_png(tmp_path / str(label) / f"{row:02}.png", image)
    (tmp_path / "3" / "03.png").write_bytes(b"no picture")
    (tmp_path / "4" / "gone.png").symlink_to(tmp_path / "nowhere")
    task, options = task_and_options("feature-head", "fixed")
    evaluator = Evaluator(task, options, tmp_path)
    assert evaluator.evaluate(initial_model(task, options)[0])["examples"] == 19
    said = capsys.readouterr().err
    assert "evaluating on 19 records; 2 left out" in said
    assert "03.png: not a picture" in said


def test_a_test_set_of_which_nothing_can_be_used_is_refused_with_the_remedy(tmp_path):
    pixels, labels = grey_digits(20)
    path = write_npz(tmp_path / "a.npz", X=pixels.astype(np.float32), y=labels)
    with pytest.raises(DataError, match="divide X by 255, or store it as uint8"):
        Evaluator(*task_and_options("feature-head", "fixed"), path)


def test_refuses_an_empty_test_set_and_a_vector_of_another_model(tmp_path, test_set):
    task, options = task_and_options("feature-head", "fixed")
    nothing = write_npz(
        tmp_path / "empty.npz", X=np.empty((0, 28, 28), np.uint8), y=np.empty(0, np.int64)
    )
    with pytest.raises(DataError, match="there is no record"):
        Evaluator(task, options, nothing)
    with pytest.raises(ProtocolError, match="5890 values belong"):
        Evaluator(task, options, test_set).evaluate(np.zeros(5891, np.float32))
