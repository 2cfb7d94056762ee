"""Predictions on the device: the same pictures as training saw, the same answers as torch gave."""

import json

import numpy as np
import pytest
from models_bench import KEY, VECTORS, pictures, resigned
from PIL import Image

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.inference import load
from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.runtime import open_model
from edgeveil.shared.base.errors import DataError, ModelError, ModelUntrusted
from edgeveil.shared.models.package import read_package

EXPECTED = json.loads((VECTORS / "expected.json").read_text())
SIGNER = read_package(VECTORS / "cnn.evm").signer.hex()


@pytest.fixture
def cnn():
    return open_model(VECTORS / "cnn.evm")


def pinned(home, key):
    made = AgentHome(home)
    made.ensure_keys()
    identity = made.identity().public
    from edgeveil.shared.wire.roster import agent_id

    made.save_pinned(
        Pinned(url="https://a:1", ca_pem=b"", coordinator_public=key, federation_public=bytes(32), name="cam-1", agent_id=agent_id(identity), token_id=bytes(16), state="member")
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cnn", "head"])
def test_what_torch_said_when_the_package_was_made_is_what_the_device_says(name):
    model = open_model(VECTORS / f"{name}.evm")
    taken = model.input
    raw = pictures(4, taken.height, taken.width, taken.channels)
    logits = np.array(EXPECTED[name])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = model.predict(raw)
    assert np.allclose([list(each.scores.values()) for each in found], wanted, atol=1e-6)
    assert [each.label for each in found] == [model.labels[k] for k in logits.argmax(axis=1)]
    assert all(each.score == max(each.scores.values()) for each in found)
    assert all(sum(each.scores.values()) == pytest.approx(1) for each in found)


def test_a_picture_file_gives_what_its_array_gives(cnn, tmp_path):
    raw = pictures(1, 8, 8)[0]
    Image.fromarray(raw).save(tmp_path / "a.png")
    assert cnn.predict(str(tmp_path / "a.png")) == cnn.predict(raw) == cnn.predict([tmp_path / "a.png"])  # fmt: skip


def test_floats_and_other_layouts_of_the_same_picture_give_the_same(cnn):
    raw = pictures(3, 8, 8)
    alike = (raw, (raw / 255).astype(np.float32), raw / 255, raw[:, np.newaxis], raw[..., np.newaxis])  # fmt: skip
    answers = [cnn.predict(each) for each in alike]
    assert all(each == answers[0] for each in answers)
    assert cnn.predict(raw[1]) == answers[0][1:2]
    head = open_model(VECTORS / "head.evm")
    coloured = pictures(2, 8, 12, 3)
    assert head.predict(np.moveaxis(coloured, 3, 1)) == head.predict(coloured)


def test_the_size_of_a_batch_changes_nothing_that_can_be_seen(cnn):
    raw = pictures(150, 8, 8, seed=9)
    together = cnn.predict(raw)
    alone = [cnn.predict(each)[0] for each in raw]
    assert [each.label for each in together] == [each.label for each in alone]
    assert np.allclose([each.score for each in together], [each.score for each in alone], atol=1e-6)
    assert cnn.predict(raw[:0]) == []


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 9, 8), np.uint8), "shape"),
        (np.zeros(64, np.uint8), "shape"),
        (np.zeros((8, 8, 3), np.uint8), "shape"),
        (np.zeros((8, 8), np.int64), "int64"),
        (np.zeros((8, 8), "U1"), "U1"),
        (np.full((8, 8), 1.5), "0..1"),
        (np.full((8, 8), np.nan), "finite"),
        (np.full((2, 8, 8), 1e300), "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence(cnn, array, words):
    with pytest.raises(DataError, match=words):
        cnn.predict(array)


def test_a_file_that_is_no_picture_is_refused_by_name(cnn, tmp_path):
    (tmp_path / "no.png").write_text("hello")
    with pytest.raises(DataError, match=r"no\.png"):
        cnn.predict(tmp_path / "no.png")


def test_a_signer_nobody_vouches_for_is_named_once():
    with pytest.warns(UserWarning, match=SIGNER) as caught:
        load(VECTORS / "cnn.evm")
    assert len(caught) == 1


def test_the_key_that_was_named_has_to_have_signed():
    assert open_model(VECTORS / "cnn.evm", trust=SIGNER).notice == ""
    with pytest.raises(ModelUntrusted, match=SIGNER):
        open_model(VECTORS / "cnn.evm", trust="00" * 32)


def test_a_device_that_joined_takes_its_own_coordinators_models_alone(tmp_path):
    pinned(tmp_path / "mine", bytes.fromhex(SIGNER))
    pinned(tmp_path / "other", bytes(32))
    assert open_model(VECTORS / "cnn.evm", home=tmp_path / "mine").notice == ""
    with pytest.raises(ModelUntrusted, match="the coordinator this device has joined"):
        open_model(VECTORS / "cnn.evm", home=tmp_path / "other")
    assert open_model(VECTORS / "cnn.evm", home=tmp_path / "other", trust=SIGNER).notice == ""


def test_a_home_that_is_not_there_is_not_made(tmp_path):
    assert open_model(VECTORS / "cnn.evm", home=tmp_path / "none").notice
    assert not (tmp_path / "none").exists()


def test_a_graph_that_is_truly_signed_and_not_run_here_is_refused(tmp_path):
    from onnx import helper, load_from_string

    found = read_package(VECTORS / "cnn.evm")
    evil = load_from_string(found.model)
    evil.graph.node.append(helper.make_node("Loop", ["records"], ["x"]))
    (tmp_path / "a.evm").write_bytes(resigned(found, model=evil.SerializeToString(), key=KEY))
    with pytest.raises(ModelError, match=r"a\.evm.*operator 'Loop', which is not run here"):
        open_model(tmp_path / "a.evm", trust=SIGNER)


def test_a_graph_that_the_runtime_does_not_take_is_one_sentence(tmp_path, capfd):
    from onnx import load_from_string

    found = read_package(VECTORS / "cnn.evm")
    broken = load_from_string(found.model)
    del broken.graph.node[0].input[:]
    (tmp_path / "a.evm").write_bytes(resigned(found, model=broken.SerializeToString()))
    with pytest.raises(ModelError, match="does not run") as caught:
        open_model(tmp_path / "a.evm")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_an_evaluation_counts_each_record_once(cnn, tmp_path):
    raw = pictures(30, 8, 8, seed=3)
    labels = np.arange(30) % 3
    predicted = [cnn.labels.index(each.label) for each in cnn.predict(raw)]
    np.savez(tmp_path / "a.npz", X=raw, y=labels)
    found = evaluate(cnn, tmp_path / "a.npz")
    assert found.counts.sum() == 30
    assert found.as_json()["accuracy"] == pytest.approx(np.mean(labels == predicted))
    assert [each["support"] for each in found.as_json()["labels"]] == [10, 10, 10]


def test_an_evaluation_names_what_it_leaves_out(cnn, tmp_path):
    for label in ("apple", "plum", "banana"):
        (tmp_path / label).mkdir()
        Image.fromarray(pictures(1, 8, 8)[0]).save(tmp_path / label / "1.png")
    (tmp_path / "apple/2.png").write_text("hello")
    found = evaluate(cnn, tmp_path)
    assert found.counts.sum() == 2
    said = " ".join(each.sentence for each in found.left)
    assert "banana" in said
    assert "2.png" in said
    (tmp_path / "apple/1.png").unlink()
    (tmp_path / "plum/1.png").unlink()
    with pytest.raises(DataError, match="no record can be used"):
        evaluate(cnn, tmp_path)
