"""Records varied in training: each by its own chance, in the form the model takes, and never where figures are made."""

import numpy as np
import pytest
import torch
from conforming_bench import CASES

from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.recurrent import trained_form
from edgeveil.agent.training.training import check_trainable
from edgeveil.agent.training.varied import Varied
from edgeveil.coordinator.runs.evaluation import Evaluator
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.augmentation import pictures, windows
from edgeveil.shared.tasks.augmentation.draws import DROPOUT, FLIP, NOISE, Draws, RecordDropout
from edgeveil.shared.tasks.batches import form
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords

SEED = 1 << 63
ROWS = np.arange(64, dtype=np.int64)
VARIED = [case for case in CASES if {"flip", "jitter"} & set(case.options)]
EACH = pytest.mark.parametrize("case", VARIED, ids=str)


def records(task, options, count=12):
    inputs, targets = task.probe(count, torch.Generator().manual_seed(3), options)
    return ArrayRecords(inputs.clamp(-1, 1).numpy(), targets.numpy())


def source(task, options, found, module):
    return Varied(found, task, options, module)


def varied(task, inputs, draws, options):
    return task.augment(inputs, torch.zeros(len(inputs)), draws, options)[0]


@EACH
def test_a_record_is_varied_alike_alone_and_in_any_company(case):
    task, options = case.made()
    inputs = torch.from_numpy(records(task, options).inputs)
    whole = varied(task, inputs, Draws(SEED, ROWS[:12]), options)
    assert form(whole) == form(inputs)
    for rows in ([4], [4, 9], [9, 4, 0]):
        some = np.array(rows, np.int64)
        assert torch.equal(varied(task, inputs[rows], Draws(SEED, some), options), whole[rows])
    changed = inputs.clone()
    changed[[0, 5]] = torch.nan
    others = [row for row in range(12) if row not in {0, 5}]
    found = varied(task, changed, Draws(SEED, ROWS[:12]), options)
    assert torch.equal(found[others], whole[others])


@EACH
def test_every_step_has_other_chances_and_one_seed_always_the_same(case):
    task, options = case.made()
    inputs = torch.from_numpy(records(task, options).inputs)
    first, again, other = (
        varied(task, inputs, Draws(seed, ROWS[:12]), options) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, inputs)
    assert float(first.abs().max()) <= 1


@EACH
def test_an_empty_batch_stays_empty(case):
    task, options = case.made()
    inputs = torch.from_numpy(records(task, options).inputs)[:0]
    assert varied(task, inputs, Draws(SEED, ROWS[:0]), options).shape == inputs.shape


@EACH
def test_figures_are_those_of_the_records_as_they_are(case, tmp_path):
    task, options = case.made()
    plain = task.parse_options({"variant": case.variant, **unvaried(case)})
    path = case.write(tmp_path / "d", 20)
    vector = read_vector(task.build(options), task.tensors(options))
    vector = vector + np.random.default_rng(2).normal(0, 0.1, vector.size).astype(np.float32)
    found = [Evaluator(task, each, path, quiet=True).evaluate(vector) for each in (options, plain)]
    assert found[0] == found[1]


def unvaried(case):
    gone = pictures.NAMES | windows.NAMES
    return {name: value for name, value in case.options.items() if name not in gone}


@EACH
@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
def test_one_record_moves_the_sum_by_no_more_than_the_clip_and_every_engine_gives_the_same(
    case, mode
):
    task, options = case.made()
    found, clip = records(task, options), 0.05

    def clipped(rows, engine_mode):
        module = trained_form(task.build(options)).train()
        for p in module.parameters():
            torch.manual_seed(p.numel())
            p.data.add_(0.1 * torch.randn(p.shape))
        parameters = [p for p in module.parameters() if p.requires_grad]
        engine = ENGINES[engine_mode](module, task.criterion("none"))
        with engine.attach(torch.optim.SGD(parameters, lr=1.0), Mechanism(clip, 1.0)):
            engine.accumulate(*source(task, options, found, module).take(rows, SEED))
            return torch.cat([part.flatten() for part in engine.clipped_sum()])

    if mode == "ghost" and case.variant == "gru":
        pytest.skip("ghost clipping has no rule for recurrent layers")
    every = clipped(ROWS[:12], mode)
    without = clipped(np.delete(ROWS[:12], 5), mode)
    assert clip * 0.9 < float((every - without).norm()) <= clip
    assert torch.allclose(every, clipped(ROWS[:12], "single"), atol=1e-5)


@EACH
def test_the_model_passes_the_device_s_own_checks(case):
    task, options = case.made()
    assert check_trainable(task, options, records(task, options)).mode in {
        "hooks",
        "ghost",
        "single",
    }


def test_mirrored_moved_and_brightened_pictures_are_what_their_names_say():
    picture = torch.linspace(-0.5, 0.5, 64).view(1, 1, 8, 8).expand(64, 1, 8, 8)
    draws = Draws(SEED, ROWS)

    def only(**asked):
        return pictures.varied(picture, pictures.PictureVariations(**asked), draws)

    mirrored = only(flip=True)
    turned = draws.uniform(FLIP)[:, 0] < 0.5
    assert 16 < int(turned.sum()) < 48
    assert torch.equal(mirrored[turned], picture[turned].flip(3))
    assert torch.equal(mirrored[~turned], picture[~turned])
    moved = only(crop=2)
    shifts = {
        (down, right)
        for one in moved
        for down in range(-2, 3)
        for right in range(-2, 3)
        if torch.equal(one[0, 2:6, 2:6], picture[0, 0, 2 + down : 6 + down, 2 + right : 6 + right])
    }
    assert len(shifts) > 15
    lighter = (only(brightness=10) - picture).flatten(1)
    assert float(lighter.std(dim=1).max()) < 1e-6
    assert float(lighter.abs().max()) <= 0.2
    steeper = only(contrast=50).flatten(1).std(dim=1) / picture[0].std()
    assert 0.5 <= float(steeper.min()) < 0.7
    assert 1.3 < float(steeper.max()) <= 1.5


def test_windows_move_in_time_and_get_noise_of_the_size_asked_for():
    rows = torch.linspace(-0.9, 0.9, 32).view(1, 32, 1).expand(64, 32, 2)
    draws = Draws(SEED, ROWS)
    moved = windows.varied(rows, windows.WindowVariations(jitter=3), draws)
    by = {
        round(float(one[16, 0] - rows[0, 16, 0]) / float(rows[0, 1, 0] - rows[0, 0, 0]))
        for one in moved
    }
    assert by == set(range(-3, 4))
    noisy = windows.varied(torch.zeros(64, 32, 2), windows.WindowVariations(noise=50), draws)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.05)


def test_draws_are_even_and_of_no_use_twice():
    draws = Draws(7, np.arange(4000, dtype=np.int64))
    values = draws.uniform(FLIP, 4)
    assert 0 <= float(values.min()) < 0.001
    assert 0.999 < float(values.max()) < 1
    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    assert abs(float(torch.corrcoef(values.T)[0, 1])) < 0.05
    assert not torch.equal(values, draws.uniform(NOISE, 4))
    normal = draws.normal(NOISE, 3)
    assert normal.shape == (4000, 3)
    assert float(normal.std()) == pytest.approx(1, abs=0.03)


def test_dropout_takes_the_share_of_each_record_and_nothing_outside_of_training():
    layer, ones = RecordDropout(25), torch.ones(50, 400)
    assert torch.equal(layer.train()(ones), ones)  # nobody has said what to drop
    layer.use(Draws(3, ROWS[:50]))
    dropped = layer(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    layer.use(Draws(3, ROWS[:50]))
    one_by_one = torch.cat([layer(ones[at : at + 1]) for at in range(50)])
    assert torch.equal(one_by_one, dropped)
    assert torch.equal(layer.eval()(ones), ones)
    assert DROPOUT != NOISE


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("feature-head", {"variant": "fixed", "flip": True}, "flip: features are computed once"),
        ("image-classification", {"variant": "linear", "crop": 2}, "crop: variant 'linear' takes"),
        ("image-classification", {"variant": "cnn", "crop": 8}, "crop = 8: at most a quarter"),
        ("image-classification", {"variant": "cnn", "contrast": 60}, "contrast"),
        ("sensor-sequence", {"variant": "statistics", "noise": 5, "columns": "a 0..1", "labels": "x,y"}, "noise: statistics are"),
        ("sensor-sequence", {"variant": "gru", "window": 40, "jitter": 11, "columns": "a 0..1", "labels": "x,y"}, "at most a quarter of the window"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_refused_with_a_sentence(task, options, said):
    with pytest.raises(ConfigError, match=said):
        registry.load(registry.newest(task)).parse_options(options)
