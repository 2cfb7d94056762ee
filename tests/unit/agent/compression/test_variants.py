"""Smaller variants of a model: what is kept, what is refused, who vouches for it."""

from dataclasses import replace

import numpy as np
import pytest
from models_bench import VECTORS, pictures, resigned
from PIL import Image

from edgeveil.agent.compression import quantizing, report
from edgeveil.agent.compression.graphs import run
from edgeveil.agent.compression.keeping import device_key, packed
from edgeveil.agent.compression.sparsity import sparse
from edgeveil.agent.compression.variants import Ask, Base, Variant, chosen, judged, optimize
from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.inference.runtime import made_ready, open_model
from edgeveil.agent.measuring.latency import Asked, Latency
from edgeveil.shared.base.errors import DataError, ModelUntrusted
from edgeveil.shared.models import graph, known_answer
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import parse_package, read_package

CNN = read_package(VECTORS / "cnn.evm")
SHAPE = graph.Wanted.of(CNN.manifest)
FAST = Ask(latency=Asked(warm_up=0, seconds=0.01, least=3))


@pytest.fixture
def data(tmp_path):
    """Pictures that the model itself named, so that it is right on all of them."""
    model = open_model(VECTORS / "cnn.evm")
    raw = pictures(12, 8, 8)
    for at, (one, said) in enumerate(zip(raw, model.predict(raw), strict=True)):
        (tmp_path / "data" / said.label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(tmp_path / "data" / said.label / f"{at}.png")
    for label in model.labels:
        (tmp_path / "data" / label).mkdir(exist_ok=True)
    return tmp_path / "data"


def variant(size, p50, quality, zipped=None):
    """Of so many bytes, of which `zipped` are random."""
    noise = np.random.default_rng(0).bytes(size if zipped is None else zipped)
    speed = Latency("cpu", 1, 9, p50, p50, p50, 1, 2, 1, None, "")
    return Variant("v", noise + bytes(size - len(noise)), False, None, None, quality, speed)


@pytest.mark.parametrize(
    ("one", "kept", "why"),
    [
        (variant(300, 9.0, 0.90), True, "smaller"),
        (variant(300, 1.0, 0.90), True, "smaller and faster"),
        (variant(1000, 5.0, 0.895), True, "faster"),
        (variant(300, 1.0, 0.889), False, "quality falls by 1.10 points, at most 1 are allowed"),
        (variant(300, 1.0, 0.88998), False, "quality falls by 1.0020 points, at most 1 are allowed"),
        (variant(300, 1.0, float("nan")), False, "quality falls by nan points, at most 1 are allowed"),
        (variant(1000, 9.0, 0.95), False, "neither smaller nor faster"),
        (variant(1000, 9.0, 0.9, zipped=100), False, "smaller only when compressed: no gain on this device"),
    ],
)  # fmt: skip
def test_a_variant_is_kept_only_if_it_is_as_good_and_smaller_or_faster(one, kept, why):
    assert judged(variant(1000, 9.0, 0.90), one, 1.0) == (kept, why)


@pytest.mark.parametrize(
    ("sizes_and_times", "kept"),
    [
        ([(300, 30.0), (500, 9.9), (600, 5.0)], 1),
        ([(500, 9.0), (300, 9.9)], 1),
        ([(500, 30.0), (300, 40.0)], 1),
        ([], None),
    ],
    ids=["slower is passed over", "as fast", "all are slower", "none is good"],
)
def test_the_smallest_that_is_as_fast_is_kept_and_a_slower_one_only_if_all_are(
    sizes_and_times, kept
):
    good = [replace(variant(size, time, 0.9), accepted=True) for size, time in sizes_and_times]
    worse = variant(10, 1.0, 0.1)
    found = chosen(variant(1000, 9.0, 0.9), [worse, *good])
    assert found is (None if kept is None else good[kept])


def test_a_variant_that_works_more_of_the_processor_is_slower_whatever_the_clock_says():
    busy, idle = (replace(variant(size, 9.0, 0.9), accepted=True) for size in (300, 500))
    busy = replace(busy, latency=replace(busy.latency, cpu_p50_ms=30.0))
    assert chosen(variant(1000, 9.0, 0.9), [busy, idle]) is idle


def test_eight_bits_are_run_by_devices_as_variants_and_not_as_models_of_a_coordinator():
    made = quantizing.dynamic(CNN.model)
    assert len(made) < 0.6 * len(CNN.model)
    assert graph.check(made, replace(SHAPE, quantized=True)) & graph.QUANTIZED
    with pytest.raises(graph.Forbidden):
        graph.check(made, SHAPE)
    with pytest.raises(graph.Forbidden):
        made_ready(parse_package(resigned(CNN, model=made)))


@pytest.mark.parametrize("make", [quantizing.dynamic, lambda data: quantizing.static(data, known_answer.records(CNN.manifest.input))])  # fmt: skip
def test_eight_bits_give_nearly_the_same(make):
    records = known_answer.records(CNN.manifest.input)
    before, now = run(CNN.model, records), run(make(CNN.model), records)
    assert 0 < np.linalg.norm(before - now) < 0.2 * np.linalg.norm(before)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_share_of_zeros_is_the_achieved_one(share):
    made, achieved = sparse(CNN.model, share)
    assert achieved == pytest.approx(share, abs=0.01)
    graph.check(made, replace(SHAPE, quantized=True))


def test_the_kept_variant_names_its_parent_and_is_trusted_where_it_was_made(data, tmp_path):
    home, parent = tmp_path / "home", CNN.signer.hex()
    found = optimize(CNN, data, replace(FAST, tolerance=100.0), lambda: device_key(home))
    (tmp_path / "small.evm").write_bytes(found.kept.file)
    here = open_model(tmp_path / "small.evm", trust=parent, home=home)
    here.check_itself()
    manifest = here.manifest
    assert (manifest.derived.parent, manifest.derived.signer) == (CNN.digest, parent)
    assert (manifest.metrics, manifest.derived.calibrated) == ({}, False)
    assert manifest.privacy == CNN.manifest.privacy
    with pytest.raises(ModelUntrusted):
        open_model(tmp_path / "small.evm", trust=parent)
    device_key(tmp_path / "other")
    with pytest.raises(ModelUntrusted):
        open_model(tmp_path / "small.evm", trust=parent, home=tmp_path / "other")


def test_a_coordinator_hears_of_the_parent_and_never_of_what_was_made_here(tmp_path):
    made = packed(
        CNN, quantizing.dynamic(CNN.model), "int8", calibrated=True, signer=device_key(tmp_path)
    )
    models = KeptModels(tmp_path)
    kept = models.add(parse_package(made), made, vouched=True)
    models.use(kept.model)
    assert models.in_use().published == CNN.digest != kept.model
    assert kept.made == "int8, made here; calibrated on local data: stays here"


def test_a_variant_of_a_variant_still_names_the_published_model(tmp_path):
    key = device_key(tmp_path)
    first = parse_package(packed(CNN, CNN.model, "one", calibrated=True, signer=key))
    second = parse_package(packed(first, CNN.model, "two", calibrated=False, signer=key)).manifest.derived  # fmt: skip
    assert (second.parent, second.signer) == (CNN.digest, CNN.signer.hex())
    assert (second.made, second.calibrated) == ("one, two", True)


def test_a_strangers_word_on_what_a_model_was_made_of_is_not_handed_on(tmp_path):
    key, stranger = device_key(tmp_path), device_key(tmp_path / "stranger")
    claimed = parse_package(packed(CNN, CNN.model, "one", calibrated=True, signer=stranger))
    assert claimed.manifest.derived.signer == CNN.signer.hex()
    made = parse_package(packed(claimed, CNN.model, "two", calibrated=False, signer=key)).manifest.derived  # fmt: skip
    assert (made.parent, made.signer) == (claimed.digest, stranger.public.hex())
    assert made.calibrated


def test_the_model_stays_where_no_variant_is_as_good(data, tmp_path):
    worse = Base("broken", CNN.model.replace(CNN.model[-2000:-1000], bytes(1000)))
    found = optimize(
        CNN, data, replace(FAST, dynamic=False), lambda: device_key(tmp_path / "h"), more=[worse]
    )
    assert found.kept is None
    assert report.sentence(found) == "No variant is kept: the model stays as it came."
    told = report.as_json(found)
    assert (told["kept"], told["epsilon_charged"], told["records"]) == (None, 0, 12)
    assert len(told["tried"]) + len(told["failed"]) == 1


def test_the_page_holds_every_variant_and_a_plot(data, tmp_path):
    found = optimize(
        CNN, data, replace(FAST, static=True, graph=True), lambda: device_key(tmp_path / "h")
    )
    page = report.page(found, "data/<of>")
    assert "data/&lt;of&gt;" in page
    assert page.count("<svg") == 2
    for name in ("as it came", "graph folded", "int8 dynamic", "int8 static"):
        assert name in page
    assert [each.calibrated for each in found.tried] == [False, False, True]


def test_nothing_is_kept_unmeasured(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        optimize(CNN, tmp_path / "empty", FAST, lambda: device_key(tmp_path / "h"))
    assert not (tmp_path / "h").exists()


def test_a_manifest_of_before_there_were_variants_keeps_its_bytes():
    assert b"derived" not in CNN.manifest.encode()
    assert Manifest.decode(CNN.manifest.encode()).derived is None
