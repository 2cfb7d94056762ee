"""What every task of the catalogue holds to, in every variant (docs/extending.md, "A task")."""

import json
import typing

import numpy as np
import pytest
import torch
from conforming_bench import CASES

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data import kinds, probe
from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.tasks import batches, registry
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
from edgeveil.shared.vector.model_vector import check_tensors, count

EACH = pytest.mark.parametrize("case", CASES, ids=str)
COUNT = 9


@pytest.fixture
def loaded(case, tmp_path):
    task, options = case.made()
    return task, options, task.load(case.write(tmp_path / "d", COUNT), options)


def moved(task, options, case, scale=0.1):
    """A module away from its first weights: zeros would hide a mixed batch."""
    module = task.build(options)
    tensors = task.tensors(options)
    change = np.random.default_rng(3).normal(scale=scale, size=case.size).astype(np.float32)
    write_vector(module, read_vector(module, tensors) + change, tensors)
    return module


def gradient(task, module, inputs, targets, at):
    """Of the loss of the record at that place alone."""
    losses = task.criterion("none")(module(inputs), targets)
    trained = [p for _, p in sorted(module.named_parameters()) if p.requires_grad]
    found = torch.autograd.grad(losses[at], trained)
    return torch.cat([part.flatten() for part in found]).double()


def test_every_variant_of_every_task_is_tried_here():
    for entry in registry.catalogue():
        tried = {case.variant for case in CASES if case.task == entry.id}
        parse = registry.load(entry).parse_options
        hints = typing.get_type_hints(parse)["return"].model_fields["variant"].annotation
        assert tried == set(typing.get_args(hints)), entry.id


@EACH
def test_it_has_as_many_parameters_as_it_says(case):
    task, options = case.made()
    tensors = task.tensors(options)
    check_tensors(tensors)
    assert count(tensors) == case.size
    assert tensors == trainable(task.build(options))


@EACH
def test_it_starts_from_the_same_bits_and_leaves_the_random_state_alone(case):
    task, options = case.made()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = read_vector(task.build(options), task.tensors(options))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert first.tobytes() == read_vector(task.build(options), task.tensors(options)).tobytes()
    assert np.isfinite(first).all()


@EACH
def test_the_gradient_of_a_record_is_the_same_alone_and_in_company(case):
    task, options = case.made()
    module = moved(task, options, case)
    inputs, targets = task.probe(COUNT, torch.Generator().manual_seed(5), options)
    alone = gradient(task, module, batches.one(inputs, 4), batches.one(targets, 4), 0)
    assert torch.linalg.norm(alone) > 0
    for places in ([4, 0, 8], [1, 2, 3, 4], list(range(COUNT))):
        company = batches.taken(inputs, places), batches.taken(targets, places)
        together = gradient(task, module, *company, places.index(4))
        assert torch.linalg.norm(together - alone) <= 1e-5 * torch.linalg.norm(alone)


@EACH
def test_a_record_of_nans_spoils_no_other_and_is_counted(case):
    task, options = case.made()
    module = moved(task, options, case).eval()
    inputs, targets = task.probe(COUNT, torch.Generator().manual_seed(5), options)
    spoiled = inputs.clone()
    spoiled[4] = torch.nan
    others = [at for at in range(COUNT) if at != 4]
    with torch.inference_mode():
        clean, found = (
            task.criterion("none")(module(each), targets)[others] for each in (inputs, spoiled)
        )
        outputs = module(spoiled)
    assert torch.allclose(clean, found, rtol=1e-5)
    whole = task.tally(outputs, targets, options)
    single = task.tally(outputs[4:5], targets[4:5], options)
    assert (whole == single + task.tally(outputs[others], targets[others], options)).all()


@EACH
def test_an_empty_batch_has_no_loss_no_gradient_and_an_empty_tally(case, loaded):
    task, options, records = loaded
    module = moved(task, options, case)
    inputs, targets = records.take(np.arange(0))
    outputs = module(inputs)
    losses = task.criterion("none")(outputs, targets)
    assert losses.shape == (0,)
    losses.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    whole = task.tally(module(records.take(np.arange(3))[0]).detach(), records.take(np.arange(3))[1], options)  # fmt: skip
    empty = task.tally(outputs.detach(), targets, options)
    assert empty.shape == whole.shape
    assert not empty.any()


@EACH
def test_tallies_of_parts_add_up_bit_for_bit(case, loaded):
    task, options, records = loaded
    inputs, targets = records.take(np.arange(len(records)))
    outputs = moved(task, options, case)(inputs).detach()
    pooled = task.tally(outputs, targets, options)
    parts = [task.tally(outputs[at::3], targets[at::3], options) for at in range(3)]
    assert pooled.dtype == np.int64
    assert pooled.tobytes() == sum(parts).tobytes()


@EACH
def test_figures_are_finite_within_their_range_and_can_be_shown(case, loaded):
    task, options, records = loaded
    inputs, targets = records.take(np.arange(len(records)))
    scoring = task.spec.scoring
    names = [metric.name for metric in scoring.metrics]
    tally = task.tally(moved(task, options, case)(inputs).detach(), targets, options)
    noisy = tally + np.random.default_rng(6).integers(-9, 9, tally.shape)
    for each in (tally, noisy, np.zeros_like(tally), -np.ones_like(tally)):
        figures = task.metrics(each, options)
        assert set(figures) == set(names) - {LOSS}
        for metric in scoring.metrics:
            value = figures.get(metric.name, 0.0)
            low, high = metric.range
            assert np.isfinite(value)
            assert low is None or value >= low
            assert high is None or value <= high
            assert metric.shown(value)
    kept = json.loads(json.dumps(task.keep(tally, options)))
    assert scoring.views(kept)
    assert scoring.views({}) == ()
    json.dumps(task.signature(options))


@EACH
def test_made_up_records_have_the_form_of_real_ones_and_of_none(case, loaded):
    task, options, records = loaded
    drawn = task.probe(3, torch.Generator().manual_seed(1), options)
    assert batches.size(drawn) == 3
    for taken in (np.arange(len(records)), np.arange(0)):
        assert batches.form(records.take(taken)) == batches.form(drawn)
    again = task.probe(3, torch.Generator().manual_seed(1), options)
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))


@EACH
def test_without_one_record_the_others_are_the_same_bit_for_bit(case, loaded, tmp_path):
    task, options, records = loaded
    assert len(records) == COUNT
    less = task.load(case.write(tmp_path / "less", COUNT, leave=4), options)
    rest = np.array([at for at in range(COUNT) if at != 4])
    for kept, found in zip(records.take(rest), less.take(np.arange(COUNT - 1)), strict=True):
        assert torch.equal(kept, found)


@EACH
def test_nothing_is_remembered_from_one_record_to_the_next(case, loaded):
    task, options, records = loaded
    module = moved(task, options, case)
    assert not list(module.buffers())
    inputs, _ = records.take(np.arange(COUNT))
    with torch.inference_mode():
        first, others, again = module(inputs[:1]), module(inputs[1:]), module(inputs[:1])
        backwards = module(inputs.flip(0)).flip(0)
    assert torch.equal(first, again)
    most = max(1.0, float(backwards.abs().max()))  # pixels are larger than logits
    assert torch.allclose(torch.cat([first, others]), backwards, rtol=1e-4, atol=1e-5 * most)


@EACH
def test_criterion_tells_its_reduction_and_gives_one_value_per_record(case, loaded):
    task, options, records = loaded
    inputs, targets = records.take(np.arange(COUNT))
    outputs = moved(task, options, case)(inputs)
    each = task.criterion("none")(outputs, targets)
    assert task.criterion("none").reduction == "none"
    assert each.shape == (COUNT,)
    assert torch.isfinite(each).all()
    assert torch.isclose(task.criterion("mean")(outputs, targets), each.mean())
    assert torch.isclose(task.criterion("sum")(outputs, targets), each.sum())


@EACH
def test_the_owners_data_are_what_the_task_asks_for(case, tmp_path):
    task, options = case.made()
    path = case.write(tmp_path / "d", COUNT)
    probe.probe(path)
    own = case.pinned(kinds.infer(path))
    assert own.fits(task.schema(options))
    prepared = task.prepare(own.read(path), own.labels, options)
    loaded = task.load(path, options)
    for first, second in zip(prepared.take(np.arange(COUNT)), loaded.take(np.arange(COUNT)), strict=True):  # fmt: skip
        assert torch.equal(first, second)


@EACH
def test_its_options_are_closed(case):
    task, _ = case.made()
    for wrong in ({"variant": "huge"}, {"depth": 3}, {"variant": 1}):
        with pytest.raises(ConfigError, match=f"{case.task}: .*options"):
            task.parse_options({**case.options, **wrong})
