"""A plan that names an initial model: what is accepted, what is refused before a device is asked, what is kept."""

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
from fakes_federation import plan_for
from safetensors.numpy import save as encode_tensors

from edgeveil.coordinator.learning.strategies import NOTHING
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import InitialModel, Outcome, RoundRecord, RunState
from edgeveil.coordinator.runs import checkpoint, initial, learner, run_files
from edgeveil.coordinator.runs.runs import Taken, open_run, rehearse, submit
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import all_tensors
from edgeveil.shared.vector.model_vector import count, part, unflatten

TASK = registry.load(registry.newest("feature-head"))
TENSORS = TASK.tensors(TASK.parse_options({"variant": "fixed"}))
VECTOR = np.linspace(-1, 1, count(TENSORS)).astype(np.float32)
ARRAYS = unflatten(VECTOR, TENSORS)
FIRST, SECOND = VECTOR / 2, VECTOR / 4


@pytest.fixture
def store(tmp_path):
    with Store.open(private_directory(tmp_path / "home"), create=True) as made:
        yield made


@pytest.fixture
def start(tmp_path):
    path = tmp_path / "start.safetensors"
    checkpoint.save(path, VECTOR, TENSORS, {"task": "feature-head 1.1.0"})
    return path


def plan(named, **changes):
    return plan_for(4, model__initial=str(named), **changes)


def opened(store, run):
    return open_run(store, store.home, run)[1].model


def trained(store, *, scores=({"accuracy": 0.9}, {"accuracy": 0.8}), average=False):
    """A finished run of two rounds that never happened; its id."""
    run = store.create_run(plan_for(4).model_dump_json(), "ab" * 32).run_id
    folder = private_directory(private_directory(store.home / "runs") / run)
    for number, (vector, metrics) in enumerate(zip((FIRST, SECOND), scores, strict=True), 1):
        state = {learner.AVERAGE: vector / 2} if average else NOTHING
        facts = {"run": run, "round": str(number), "task": "feature-head 1.1.0"}
        sha256, extra = run_files.save(
            folder, number, learner.Learned(vector, state), TENSORS, facts
        )
        store.open_attempt(run, number)
        store.record_round(
            RoundRecord(
                run, number, 1, Outcome.COMMITTED,
                metrics=metrics, model_sha256=sha256, extra=extra,
            )
        )  # fmt: skip
    store.set_run_state(run, RunState.FINISHED)
    return run


def test_a_run_begins_with_the_model_of_a_file_and_remembers_which(store, start):
    run, taken = submit(store, plan(start))
    assert taken is Taken.NEW
    assert np.array_equal(opened(store, run), VECTOR)
    copy = store.home / "runs" / run.run_id / "round-0000.safetensors"
    sha256 = hashlib.sha256(start.read_bytes()).hexdigest()
    kept = checkpoint.load(copy, sha256=run.initial.sha256)
    assert run.initial == InitialModel(str(start), sha256, kept.sha256)
    assert kept.metadata["initial_sha256"] == sha256
    assert kept.metadata["run"] == run.run_id
    assert [each.initial for each in store.runs()] == [store.last_run().initial] == [run.initial]


@pytest.mark.parametrize(
    ("which", "number"), [("", 1), ("@best", 1), ("@last", 2), ("@2", 2), ("@1", 1)]
)
def test_a_run_begins_with_the_best_last_or_any_model_of_another_run(store, which, number):
    parent = trained(store)
    run, _ = submit(store, plan(parent + which))
    assert np.array_equal(opened(store, run), [FIRST, SECOND][number - 1])
    assert (run.initial.run, run.initial.round) == (parent, number)
    assert store.run(parent).state is RunState.FINISHED
    assert submit(store, plan_for(4))[1] is Taken.FINISHED  # the parent's own plan


def test_where_nothing_was_evaluated_the_last_model_stands_for_the_best(store):
    run, _ = submit(store, plan(trained(store, scores=({}, {}))))
    assert run.initial.round == 2


def test_where_a_run_keeps_averages_its_published_model_is_meant(store):
    run, _ = submit(store, plan(trained(store, average=True)))
    assert np.array_equal(opened(store, run), FIRST / 2)


def test_a_plan_without_an_initial_model_begins_with_the_tasks_own(store):
    run, _ = submit(store, plan_for(4))
    assert run.initial is None
    assert initial.notices(store, run) == []
    assert not np.array_equal(opened(store, run), VECTOR)


def test_every_start_begins_with_the_same_model_whatever_becomes_of_the_file(store, start):
    wanted = plan(start)
    run, _ = submit(store, wanted)
    before = (store.home / "runs" / run.run_id / "round-0000.safetensors").read_bytes()
    assert len(initial.notices(store, run)) == 1
    checkpoint.save(start, FIRST, TENSORS, {})
    now = hashlib.sha256(start.read_bytes()).hexdigest()
    again, taken = submit(store, wanted)
    assert (again.run_id, taken) == (run.run_id, Taken.CONTINUES)
    assert np.array_equal(opened(store, again), VECTOR)
    begun, changed = initial.notices(store, again)
    assert "counts there against their budgets" in begun
    assert now in changed
    assert run.initial.source_sha256 in changed
    start.unlink()
    assert submit(store, wanted)[1] is Taken.CONTINUES
    assert np.array_equal(opened(store, again), VECTOR)
    assert len(initial.notices(store, again)) == 1
    assert (store.home / "runs" / run.run_id / "round-0000.safetensors").read_bytes() == before


def test_a_finished_run_stays_so_though_its_file_changed_and_again_takes_the_new_one(store, start):
    run, _ = submit(store, plan(start))
    store.set_run_state(run.run_id, RunState.FINISHED)
    checkpoint.save(start, FIRST, TENSORS, {})
    assert submit(store, plan(start))[1] is Taken.FINISHED
    anew, taken = submit(store, plan(start), again=True)
    assert taken is Taken.NEW
    assert np.array_equal(opened(store, anew), FIRST)


@pytest.mark.parametrize("damage", ["changed", "gone", "forgotten"])
def test_a_damaged_copy_is_never_replaced_by_another_first_model(store, start, damage):
    run, _ = submit(store, plan(start))
    copy = store.home / "runs" / run.run_id / "round-0000.safetensors"
    if damage == "changed":
        checkpoint.save(copy, FIRST, TENSORS, {})
    elif damage == "gone":
        copy.unlink()
    else:
        with store._database.writing() as connection:
            connection.exec_driver_sql("delete from meta where key like 'initial:%'")
        run = store.run(run.run_id)
    with pytest.raises(StateDamaged):
        opened(store, run)


def changed(name, array):
    return encode_tensors({**ARRAYS, name: array})


FIRST_NAME = TENSORS[0].name
SHAPE = TENSORS[0].shape
NAN = np.full(SHAPE, np.nan, np.float32)


class Exploding:
    """Leaves a trace when it is unpickled."""

    done = False

    def __reduce__(self):
        return (setattr, (Exploding, "done", True))


BAD = {
    "truncated": (lambda: encode_tensors(ARRAYS)[:-4], "not a readable safetensors file"),
    "empty": (lambda: b"", "not a readable safetensors file"),
    "not a number": (lambda: changed(FIRST_NAME, NAN), f"tensor {FIRST_NAME} is not finite"),
    "infinite": (lambda: changed(FIRST_NAME, NAN * 0 + np.inf), f"tensor {FIRST_NAME} is not fin"),
    "half": (lambda: changed(FIRST_NAME, NAN.astype(np.float16)), "is not finite float32"),
    "double": (lambda: changed(FIRST_NAME, np.zeros(SHAPE)), "is not finite float32"),
    "other shape": (
        lambda: changed(FIRST_NAME, np.zeros((*SHAPE, 1), np.float32)),
        f"tensor {FIRST_NAME} is",
    ),
    "one renamed": (
        lambda: encode_tensors({"w": ARRAYS[FIRST_NAME]}),
        f"it has no tensor {FIRST_NAME}",
    ),
    "one too many": (
        lambda: changed("zz\x1b[31m", np.zeros(1, np.float32)),
        r"tensor 'zz\x1b[31m' is no part",
    ),
    "huge header": (lambda: (1 << 40).to_bytes(8, "little") + b"{}", "a header of 1099511627776"),
    "bfloat16": (
        lambda: raw({FIRST_NAME: {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}),
        "not a readable safetensors file",
    ),
    "pickle": (lambda: pickle.dumps({"weight": Exploding()}), "never opened"),
    "other task": (
        lambda: encode_tensors(ARRAYS, {"task": "image-classification 1.1.0"}),
        "it is a model of the task 'image-classification'",
    ),
}


def raw(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * 4


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_model_of_the_plan_is_refused_with_its_name_and_the_misfit(
    store, start, kind
):
    content, said = BAD[kind]
    start.write_bytes(content())
    for ask in (submit, lambda store, wanted: rehearse(wanted, store.home)):
        with pytest.raises(ConfigError) as caught:
            ask(store, plan(start))
        assert f"plan: model.initial: {start}: " in caught.value.message
        assert said in caught.value.message
    assert store.runs() == []
    assert not (store.home / "runs").exists()
    assert not Exploding.done


def test_a_torch_file_is_refused_and_never_unpickled(store, start):
    import torch

    torch.save({"weight": torch.zeros(3), "evil": Exploding()}, start)
    with pytest.raises(ConfigError, match=r"a pickle or torch\.save file"):
        submit(store, plan(start))
    assert not Exploding.done


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "endless"])
def test_what_is_no_plain_file_is_refused_at_once(store, tmp_path, kind):
    path = tmp_path / "odd"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=rf"model\.initial: {path}: (cannot be read|a folder or)"):
        submit(store, plan(path))


def test_a_model_of_grey_pictures_does_not_fit_a_plan_for_colours(store, start):
    wanted = plan(start, task__id="image-classification", task__options={"channels": 3})
    with pytest.raises(ConfigError, match="model of the task 'feature-head'"):
        submit(store, wanted)
    checkpoint.save(start, VECTOR, TENSORS, {})  # it no longer says what it is
    with pytest.raises(ConfigError, match=r"it has no tensor|is no part|in the plan's model"):
        submit(store, wanted)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("run-20260131-120000-00000000", "no run 'run-20260131-120000-00000000' is known"),
        ("{parent}@3", "has no committed round 3; its last is 2"),
        ("{parent}@0", "has no committed round 0"),
        ("{empty}", "has no committed round, so it has no model yet"),
    ],
)
def test_a_run_without_that_model_is_refused(store, named, said):
    empty = store.create_run(plan_for(4).model_dump_json(), "cd" * 32).run_id
    named = named.format(parent=trained(store), empty=empty)
    with pytest.raises(ConfigError) as caught:
        submit(store, plan(named))
    assert said in caught.value.message


def test_a_run_with_other_classes_is_refused_though_its_tensors_fit(store):
    parent = trained(store)
    options = {"variant": "fixed", "labels": "9,8,7,6,5,4,3,2,1,0"}
    other = plan(parent, task__options=options)
    with pytest.raises(ConfigError, match=r"has task\.options\.labels = "):
        submit(store, other)


def test_a_checkpoint_that_is_not_the_one_its_round_recorded_is_refused(store):
    parent = trained(store)
    path = run_files.model_path(store.home / "runs" / parent, 1)
    checkpoint.save(path, VECTOR, TENSORS, {"run": parent, "round": "1"})
    with pytest.raises(ConfigError, match="the record of its round says"):
        submit(store, plan(parent))


def test_a_plan_without_the_key_keeps_its_bytes_and_one_with_it_is_another_plan(start):
    without_it, with_it = plan_for(4), plan(start)
    assert "model" not in json.loads(without_it.model_dump_json())
    stored = Plan.model_validate_json(with_it.model_dump_json())
    assert stored == with_it != without_it


CNN = registry.load(registry.newest("image-classification"))


def cnn(**options):
    found = CNN.parse_options({"variant": "cnn", **options})
    tensors = all_tensors(CNN, found)
    return np.linspace(-1, 1, count(tensors)).astype(np.float32), tensors


def head_plan(named, **options):
    options = {"variant": "cnn", "train": "head", **options}
    return plan(named, task__id="image-classification", task__options=options)


def test_a_head_of_other_classes_begins_anew_on_the_body_of_the_file(store, start):
    vector, tensors = cnn(classes=7)
    checkpoint.save(start, vector, tensors, {})
    run, _ = submit(store, head_plan(start))
    found, learned, _ = open_run(store, store.home, run)
    assert not learned.model.any()  # as the task begins it
    assert np.array_equal(found.frozen.vector, part(vector, tensors, found.frozen.tensors))
    assert "trains only its head" in initial.notices(store, run)[0]


def test_a_detector_of_other_classes_goes_on_with_all_that_fits(store, start):
    two = registry.load(registry.newest("detection-two-stage"))
    options = {"labels": "car,bus", "size": 64, "width": 32}
    tensors = all_tensors(two, two.parse_options(options | {"labels": "a,b,c"}))
    vector = np.linspace(-1, 1, count(tensors)).astype(np.float32)
    checkpoint.save(start, vector, tensors, {})
    run, _ = submit(store, plan(start, task__id="detection-two-stage", task__options=options))
    found, learned, _ = open_run(store, store.home, run)
    kept = tuple(each for each in found.tensors if ".classes." not in each.name)
    assert len(kept) == len(found.tensors) - 2
    assert np.array_equal(part(learned.model, found.tensors, kept), part(vector, tensors, kept))
    assert np.array_equal(found.frozen.vector, part(vector, tensors, found.frozen.tensors))


def test_a_head_that_fits_goes_on_beside_its_body(store, start):
    vector, tensors = cnn()
    checkpoint.save(start, vector, tensors, {})
    run, _ = submit(store, head_plan(start))
    found, learned, _ = open_run(store, store.home, run)
    assert np.array_equal(learned.model, part(vector, tensors, found.tensors))


def test_a_body_of_another_shape_is_refused_with_the_first_misfit(store, start):
    vector, tensors = cnn(channels=3)
    checkpoint.save(start, vector, tensors, {})
    with pytest.raises(ConfigError, match=r"tensor 0\.weight is \(16, 3, 3, 3\)"):
        submit(store, head_plan(start))


def test_a_plan_for_a_head_without_a_model_to_begin_with_is_refused():
    with pytest.raises(ValueError, match=r'task.options.train: "head" leaves the rest'):
        plan_for(4, task__options={"variant": "cnn", "train": "head"})


def test_a_body_that_is_gone_from_the_runs_folder_stops_every_later_start(store, start):
    vector, tensors = cnn()
    checkpoint.save(start, vector, tensors, {})
    run, _ = submit(store, head_plan(start))
    run_files.model_path(store.home / "runs" / run.run_id, 0).unlink()
    with pytest.raises(StateDamaged, match="round-0000"):
        open_run(store, store.home, run)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("feature-head", {"variant": "fixed"}),
        ("image-classification", {"variant": "linear"}),
        ("sensor-sequence", {"variant": "statistics", "columns": "a 0..1", "labels": "x,y"}),
        ("tabular", {"variant": "logistic", "columns": "a 0..1", "labels": "x,y"}),
        ("anomaly", {"variant": "vae", "columns": "a 0..1"}),
    ],
)
def test_a_task_without_a_body_refuses_to_train_its_head_alone(task, options):
    found = registry.load(registry.newest(task))
    with pytest.raises(ConfigError, match="has no body that could stay as it is"):
        found.parse_options({**options, "train": "head"})


def test_a_part_that_no_model_has_is_refused():
    with pytest.raises(ConfigError, match="one of all, head"):
        CNN.parse_options({"variant": "cnn", "train": "tail"})
