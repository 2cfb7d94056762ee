"""A first plan, from the command to a round that devices with a default policy have taken part in."""

import json
import re

import numpy as np
import pytest
from catalogue_bench import write_png
from conforming_bench import boxes, rows
from fakes_federation import DIGITS, Federation
from first_plan_bench import new
from look_bench import initialised, run

from edgeveil.agent.home.policy import Policy, SharedNoise
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.plan import first
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import ConfigError, DataError, NotInstalled, RunFailed
from edgeveil.shared.data.kinds import infer as infer_any
from edgeveil.shared.data.schema import infer
from edgeveil.shared.privacy.counting import affordable_scale
from edgeveil.shared.privacy.filter import cap, choose_order
from edgeveil.shared.privacy.rdp import rdp_step
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.backbone.photos import suited
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.registry import load, newest


def test_devices_with_a_default_policy_accept_the_plan_that_was_written_for_their_folders(tmp_path):
    federation = Federation(tmp_path, 4, policy=Policy(), data=DIGITS)
    target, found = new(
        tmp_path, "--labels-from", federation.pieces[0], "--agents", 4, "--records", 60,
        "--test", federation.test, "--json",
    )  # fmt: skip
    told = json.loads(found.stdout)
    assert (told["goal"], told["labels"]) == (4, [str(digit) for digit in range(10)])
    driver, first_round = federation.driver(load_plan(target))
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    (record,) = federation.store.rounds()
    assert len(record.survived) == 4
    assert record.metrics["examples"] == 200
    federation.close()


def test_a_federation_runs_the_plan_that_was_written_with_noise_in_shares(tmp_path):
    federation = Federation(tmp_path, 5, offline=True, policy=Policy(), data=DIGITS)
    federation.allow({"shared_noise": SharedNoise(epsilon_sum_max=2.0, federation_key="offline")})
    target, found = new(
        tmp_path, "--labels-from", federation.pieces[0], "--agents", 5, "--records", 60,
        "--test", federation.test, "--shared", "--honest", 3, "--json",
    )  # fmt: skip
    told = json.loads(found.stdout)
    assert (told["noise"], told["honest"], told["epsilon_sum"]) == ("shared", 3, 2.0)
    assert told["cost"]["epsilon_sum"] < told["cost"]["epsilon"] <= told["epsilon"]
    driver, first_round = federation.driver(load_plan(target))
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    for home in federation.homes:
        spent = read_budget(home.path)
        assert (spent.rounds_shared, spent.epsilon_sum < spent.epsilon_spent) == (1, True)
    federation.close()


def test_devices_take_part_in_the_plan_for_many_records(tmp_path):
    federation = Federation(tmp_path, 4, policy=Policy(), data=DIGITS)
    target, _ = new(tmp_path, "--labels-from", federation.pieces[0], "--agents", 4, "--records", 50_000, "--test", federation.test)  # fmt: skip
    plan = load_plan(target)
    assert (plan.rounds.count, plan.server.strategy, plan.server.average) == (
        100,
        "fedavgm",
        "tail",
    )
    driver, first_round = federation.driver(plan)
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    federation.close()


def test_devices_with_records_in_colours_accept_the_plan_that_was_written_from_such_records(
    tmp_path,
):
    pieces = [tmp_path / f"piece-{number}.npz" for number in range(5)]
    rng = np.random.default_rng(1)
    for piece in pieces:
        classes = rng.integers(0, 3, 60)
        pictures = (
            rng.integers(0, 100, (60, 16, 16, 3))
            + 150 * np.eye(3, dtype=int)[classes][:, None, None]
        )
        np.savez(piece, X=pictures.astype(np.uint8), y=classes)
    policy = Policy(data=record_policy(infer(pieces[0])))
    federation = Federation(tmp_path, 4, policy=policy, pieces=pieces)
    target, found = new(
        tmp_path, "--labels-from", pieces[0], "--agents", 4, "--test", pieces[4], "--json"
    )
    assert json.loads(found.stdout)["shape"] == [16, 16, 3]
    driver, first_round = federation.driver(load_plan(target))
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    grey, _ = new(tmp_path, "--labels-from", pieces[0], "--channels", 1, "--agents", 4, "--force")
    refused, first_round = federation.driver(load_plan(grey))
    with pytest.raises(RunFailed, match=r"nothing was begun: 0 of 4 agents .*POLICY_TASK"):
        refused.attempt(first_round)
    assert all(read_budget(home.path).rounds == 1 for home in federation.homes)
    federation.close()


def photos(folder, side=40):
    random = np.random.default_rng(2)
    for label in ("cat", "dog"):
        for number in range(2):
            write_png(folder / label / f"{number}.png", random.integers(0, 256, (side, side, 3), dtype=np.uint8))  # fmt: skip
    return folder


def test_photos_in_colours_get_the_frozen_network_where_its_weights_are_installed(
    tmp_path, monkeypatch
):
    folder = photos(tmp_path / "photos")
    target, found = new(tmp_path, "--labels-from", folder, "--agents", 4, "--json")
    told = json.loads(found.stdout)
    assert (told["features"], told["shape"]) == ("efficientnet-lite0", [128, 128, 3])
    assert "edgeveil[backbone]" in target.read_text()
    pinned = record_policy(suited(folder)).as_schema()
    task = load(newest("feature-head"))
    options = task.parse_options(load_plan(target).task.options)
    assert pinned.fits(task.schema(options)), "a device with the same photos would take part"
    for arguments in (["--channels", 1], ["--features", "orientation"]):
        _, found = new(tmp_path, "--labels-from", folder, "--agents", 4, "--json", "--force", *arguments)  # fmt: skip
        assert json.loads(found.stdout)["features"] == "orientation"
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    target, found = new(tmp_path, "--labels-from", folder, "--agents", 4, "--json", "--force")
    assert json.loads(found.stdout)["shape"] == [28, 28, 3] == list(suited(folder).shape)
    assert "features = " not in target.read_text()
    asset.check_weights.cache_clear()
    with pytest.raises(NotInstalled, match=r"edgeveil\[backbone\]"):
        new(tmp_path, "--labels-from", folder, "--agents", 4, "--force", "--features", asset.NAME)


def test_blocks_are_for_whoever_asks_for_them(tmp_path):
    target, _ = new(tmp_path, "--labels", "a,b", "--agents", 3, "--features", "blocks")
    assert load_plan(target).task.options["features"] == "blocks"
    assert "edgeveil[backbone]" not in target.read_text()


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A detector as it is before it has learned, packed as a public one."""
    task = load(newest("detection"))
    options = task.parse_options({"labels": "other,things", "size": 128})
    module, tensors = task.build(options), task.tensors(options)
    path = tmp_path_factory.mktemp("public") / "body.safetensors"
    checkpoint.save(path, read_vector(module, tensors), tensors, {"task": "detection 1.0.0"})
    return path


def test_cameras_with_a_default_policy_accept_the_plan_that_was_written_from_pictures_with_boxes(
    tmp_path, body
):
    pieces = [boxes(tmp_path / f"piece-{number}", 6) for number in range(5)]
    policy = Policy(data=record_policy(infer_any(pieces[0])))
    federation = Federation(tmp_path, 4, policy=policy, pieces=pieces)
    target, found = new(
        tmp_path, "--data", pieces[4], "--agents", 4, "--records", 150, "--test", pieces[4],
        "--initial", body, "--json",
    )  # fmt: skip
    told = json.loads(found.stdout)
    assert (told["task"].split()[0], told["shape"]) == ("detection", [128, 128, 3])
    assert (told["labels"], told["learning_rate"]) == (["car", "truck"], 0.4)
    plan = load_plan(target)
    assert (plan.task.options["variant"], plan.task.options["train"]) == ("lite", "classes")
    assert (plan.server.schedule, plan.server.average) == ("cosine", "tail")
    federation.train(
        plan.model_copy(update={"rounds": plan.rounds.model_copy(update={"count": 1})})
    )
    (record,) = federation.store.rounds()
    assert record.metrics["examples"] == 6
    federation.close()


def test_fewer_pictures_than_were_tried_lower_the_rate_of_a_detector(tmp_path, body):
    folder = boxes(tmp_path / "camera", 4)
    rates = [
        json.loads(
            new(
                tmp_path, "--labels-from", folder, "--agents", 4, "--records", records, "--epsilon", 1,
                "--initial", body, "--json", "--force",
            )[1].stdout
        )["learning_rate"]
        for records in (30, 150)
    ]  # fmt: skip
    assert rates[0] < rates[1] / 4
    assert rates[1] > 0.35


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], r"mAP@0\.5 below \.01.*Two ways out: .*--initial FILE.*cameras of one owner"),
        (["--initial", "nowhere.safetensors"], "neither a file nor a run"),
        (["--initial", "run-20260101-000000-01234567", "--size", "48x64"], "write one side"),
        (["--initial", "run-20260101-000000-01234567", "--size", "100"], "multiple of 32"),
        (["--initial", "run-20260101-000000-01234567", "--channels", 1], "without boxes"),
        (["--initial", "run-20260101-000000-01234567", "--variant", "huge"], "options.variant"),
        (["--initial", "run-20260101-000000-01234567", "--task", "tabular"], "choose one of detection"),
    ],
)  # fmt: skip
def test_a_detector_that_would_learn_nothing_or_fits_nothing_is_not_planned(
    arguments, said, tmp_path
):
    folder = boxes(tmp_path / "camera", 4)
    with pytest.raises(ConfigError, match=said):
        new(tmp_path, "--data", folder, "--agents", 4, *arguments)
    assert not (tmp_path / "plan.toml").exists()


def test_options_of_boxes_are_for_boxes(tmp_path):
    with pytest.raises(ConfigError, match="are for pictures with boxes"):
        new(tmp_path, "--labels", "cat,dog", "--agents", 4, "--initial", "body.safetensors")


def test_pictures_of_another_size_are_asked_for_and_the_doctor_says_if_devices_have_others(
    tmp_path,
):
    target, _ = new(tmp_path, "--labels", "cat,dog", "--agents", 3, "--size", "48x64")
    options = load_plan(target).task.options
    assert (options["height"], options["width"]) == (48, 64)
    for label in ("cat", "dog"):
        write_png(tmp_path / "held-out" / label / "1.png", np.zeros((9, 9, 3), np.uint8))
    home = initialised(tmp_path)
    said = {}
    for size, channels in (("48", 1), ("28", 3)):
        new(
            tmp_path, "--labels", "cat,dog", "--agents", 3, "--size", size, "--channels", channels,
            "--features", "orientation", "--test", tmp_path / "held-out", "--force",
        )  # fmt: skip
        found = run(home, "doctor", "--plan", target, "--json", check=False)
        said[size] = [
            each["text"]
            for each in json.loads(found.stdout)["findings"]
            if each["check"] == "held-out"
        ]
    pinned = suited(tmp_path / "held-out").shape
    wanted = f"declares {pinned[0]}×{pinned[1]} in colours when it first starts"
    assert wanted in said["48"][0]
    assert "asks for 48×48 grey" in said["48"][0]
    assert (said["28"] == []) == (pinned == (28, 28, 3))


def test_arrays_have_the_size_they_have(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, X=np.zeros((4, 28, 28), np.uint8), y=np.array([0, 1, 0, 1]))
    with pytest.raises(ConfigError, match="are arrays of 28x28"):
        new(tmp_path, "--labels-from", path, "--agents", 3, "--size", "32")


def test_the_written_plan_passes_the_doctor(tmp_path):
    home = initialised(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    target, found = new(tmp_path, "--labels-from", tmp_path / "photos", "--agents", 5)
    assert "ε 1.9" in found.stdout
    assert "holds 12 such runs" in found.stdout
    said = run(home, "doctor", "--plan", target, "--json", check=False)
    assert not [
        each for each in json.loads(said.stdout)["findings"]
        if each["check"] in {"plan", "memory"} and each["level"] == "red"
    ]  # fmt: skip
    assert load_plan(target).task.options["labels"] == "cat,dog"


@pytest.mark.parametrize("agents", [3, 4, 5, 9, 10, 11, 37, 400, 5000])
def test_no_plan_wants_more_devices_than_there_are(agents):
    for records in (1, 60, 20_000):
        made = first.first_plan(first.Wanted(("a", "b"), (28, 28, 1), agents, records))
        rounds = made.plan.rounds
        assert 3 <= rounds.minimum <= rounds.goal <= agents
        assert made.plan.secagg.feasible(rounds.minimum)


def test_a_plan_spends_by_default_at_most_a_quarter_of_the_budget_of_a_default_policy():
    policy = Policy()
    assert (policy.epsilon_max, policy.delta) == (first.BUDGET, first.DELTA)
    made = first.first_plan(first.Wanted(("a", "b"), (28, 28, 1), 5))
    assert made.plan.training.epsilon * 4 <= policy.epsilon_max
    order = choose_order(policy.epsilon_max, policy.delta)
    asked = training_plan(made.plan)
    steps = asked.steps * (made.plan.rounds.count + made.plan.rounds.spare)
    spent = steps * rdp_step(asked.noise_multiplier, asked.sample_rate, order)
    assert spent * 4 <= cap(policy.epsilon_max, policy.delta, order)
    assert made.cost.runs >= 4
    assert policy.clip_norm.least <= asked.clip_norm <= policy.clip_norm.most
    assert policy.learning_rate.least <= asked.learning_rate <= policy.learning_rate.most


def test_more_noise_or_fewer_records_make_a_smaller_learning_rate():
    def rate(**changes):
        values = {"labels": ("a", "b"), "shape": (28, 28, 1), "agents": 5, "records": 500} | changes
        return first.first_plan(first.Wanted(**values)).plan.training.learning_rate

    assert rate(epsilon=1.0) < rate() < rate(epsilon=8.0)
    assert rate(records=50) < rate() < rate(records=5000)
    assert rate(agents=3) < rate() < rate(agents=50)


def test_a_folder_without_a_schema_and_options_of_pictures_are_told_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="copy that of the devices"):
        new(tmp_path, "--data", tmp_path, "--agents", 4)
    folder = rows(tmp_path / "piece", 9)
    with pytest.raises(ConfigError, match="are for pictures"):
        new(tmp_path, "--data", folder, "--agents", 4, "--channels", 3)


def test_a_file_that_is_there_is_replaced_only_when_told(tmp_path):
    target, _ = new(tmp_path, "--labels", "cat, dog", "--agents", 3)
    before = target.read_text()
    with pytest.raises(ConfigError, match="--force"):
        new(tmp_path, "--labels", "a,b", "--agents", 3)
    assert target.read_text() == before
    new(tmp_path, "--labels", "a,b", "--agents", 3, "--force")
    assert load_plan(target).task.options["labels"] == "a,b"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--labels", "a,b", "--agents", "2"], ConfigError, "hides nobody"),
        (["--labels", "a,b", "--agents", "99999999999"], ConfigError, "--agents .*at most 10,000"),
        (
            ["--labels", "a,b", "--agents", "3", "--records", "9" * 20],
            ConfigError,
            "--records .*at most",
        ),
        (["--labels", "a,b", "--agents", "3", "--test", "nofolder"], DataError, "--test nofolder"),
        (["--labels", "a", "--agents", "3"], ConfigError, "two classes"),
        (["--labels", "a,a", "--agents", "3"], ConfigError, "named twice"),
        (["--labels", "a,b", "--agents", "3", "--epsilon", "0"], ConfigError, "training.epsilon"),
        (["--labels", "a,b", "--agents", "3", "--epsilon", "nan"], ConfigError, "training.epsilon"),
        (["--labels", "a,b", "--agents", "3", "--epsilon", "0.001"], ConfigError, "epsilon"),
        (
            ["--labels", "a,b", "--agents", "3", "--size", "64x"],
            ConfigError,
            "as 64, or height and",
        ),
        (["--labels", "a,b", "--agents", "3", "--size", "30"], ConfigError, "multiple of 4"),
        (["--agents", "3"], ConfigError, "--labels-from DIR"),
        (["--labels-from", "nowhere", "--agents", "3"], DataError, "nowhere"),
        (
            ["--labels", "a,b", "--agents", "3", "--features", "best"],
            ConfigError,
            "orientation, blocks",
        ),
        (
            ["--labels", "a,b", "--agents", "3", "--features", asset.NAME],
            ConfigError,
            "channels = 3",
        ),
    ],
)
def test_what_makes_no_plan_is_said_in_a_sentence_and_nothing_is_written(
    tmp_path, arguments, error, said
):
    with pytest.raises(error, match=said):
        new(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_with_held_out_data_says_what_an_early_end_saves(tmp_path):
    for label in ("cat", "dog"):
        write_png(tmp_path / "held-out" / label / "1.png", np.zeros((28, 28), np.uint8))
    wanted = ["--labels", "cat,dog", "--agents", 3]
    target, _ = new(tmp_path, *wanted, "--test", tmp_path / "held-out")
    written = target.read_text()
    ends = re.search(r"at ε ([0-9.]+) in place of ([0-9.]+)", written)
    assert ends is not None
    assert 0.5 < float(ends[1]) < float(ends[2]) < 2
    assert load_plan(target).evaluation.patience == 0
    target.write_text(written.replace("# patience", "patience"))
    assert load_plan(target).evaluation.patience == 5
    target, _ = new(tmp_path, *wanted, "--force")
    assert "patience" not in target.read_text(), "nothing is evaluated, so nothing can end it"


@pytest.mark.parametrize(
    ("labels", "records", "few"),
    [
        ("a,b", 10, True),
        ("a,b", 30, False),
        ("a,b,c,d,e,f,g,h,i,j", 60, True),
        ("a,b", None, False),
    ],
)
def test_records_that_the_noise_outweighs_are_warned_of_where_it_is_read(
    tmp_path, labels, records, few
):
    given = [] if records is None else ["--records", records]
    target, found = new(tmp_path, "--labels", labels, "--agents", 3, *given)
    said = " ".join(found.stderr.split())
    assert (f"{records} records on each device are too few" in said) is few
    assert ("# WARNING: " in target.read_text()) is few
    if few:
        enough = said.partition("can add. ")[2].split()[0]
        target, found = new(
            tmp_path, "--labels", labels, "--agents", 3, "--records", enough, "--force"
        )
        assert "too few" not in found.stderr + target.read_text()


def test_the_count_of_records_that_a_device_pays_for_beside_the_run_is_told_with_the_free_way(
    tmp_path,
):
    target, found = new(tmp_path, "--labels", "a,b", "--agents", 3)
    for said in (found.stdout, target.read_text()):
        words = " ".join(said.replace("#", "").split())
        assert "Beside it each data set pays ε 0.1 once" in words
        assert "agent policy set n_ref=N" in words
    scale = affordable_scale(
        cap(first.BUDGET, first.DELTA, choose_order(first.BUDGET, first.DELTA)),
        choose_order(first.BUDGET, first.DELTA),
    )
    assert 1 / scale <= first.COUNT


def test_a_plan_that_could_not_start_is_not_written(tmp_path, body):
    folder = rows(tmp_path / "rows", 9)
    pictures = photos(tmp_path / "photos")
    with pytest.raises(DataError, match="photos"):
        new(tmp_path, "--data", folder, "--test", pictures, "--agents", 3)
    script = tmp_path / "script.py"
    script.write_text("print()\n")
    camera = boxes(tmp_path / "camera", 4)
    with pytest.raises(ConfigError, match=r"script\.py"):
        new(tmp_path, "--data", camera, "--initial", script, "--agents", 3)
    assert not (tmp_path / "plan.toml").exists()


def test_what_is_beyond_a_default_budget_is_warned_of(tmp_path):
    _, found = new(tmp_path, "--labels", "a,b", "--agents", 3, "--epsilon", 12)
    assert "devices with the default budget refuse this plan" in found.stderr


@pytest.mark.parametrize("option", ["--data", "--labels-from"])
def test_a_folder_that_is_not_there_is_named(tmp_path, option):
    with pytest.raises(DataError, match=f"{option} .*nowhere: there is no such folder"):
        new(tmp_path, option, tmp_path / "nowhere", "--agents", 3)
