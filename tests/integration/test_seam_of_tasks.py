"""A task unlike the installed ones goes the whole way, and no file outside the tests knows it.

Series of unequal length, a number to predict, a metric where lower is better: training, evaluation,
judgement, the best model, tables, CSV, JSON, page, exports (tests/benches/odd_tasks_bench.py).
"""

import csv
import io
import json
import re
import shutil

import numpy as np
import odd_tasks_bench as odd
import pytest
from fakes_federation import Federation, plan_for
from look_bench import initialised, run

from edgeveil.coordinator.cli.top import Picture, draw
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports.exports.points import points
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.runs.runs import submit
from edgeveil.coordinator.store.store import FILE
from edgeveil.coordinator.watching.live import Now
from edgeveil.shared.base.errors import ConfigError

ROUNDS = 3
DATABASES = (FILE, f"{FILE}-wal", f"{FILE}-shm")


def plan(federation, **changes):
    task = {"id": "length", "options": {"variant": "plain"}}
    return plan_for(
        4, task__id=task["id"], task__options=task["options"], rounds__count=ROUNDS,
        training__learning_rate=0.3, training__clip_norm=2.0, training__steps=4,
        evaluation__data=str(federation.test), **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seam")
    with pytest.MonkeyPatch.context() as patch:
        odd.install(patch)
        pieces = [odd.write_series(folder / f"{k}.npz", 200, k) for k in range(5)]
        federation = Federation(folder, pieces=pieces)
        driver = federation.train(plan(federation))
        federation.store.set_run_state(driver.run.run_id, RunState.FINISHED)
        yield federation, driver
        federation.close()


@pytest.fixture
def found(trained):
    federation, driver = trained
    return RunFacts(federation.store.run(driver.run.run_id), federation.store.rounds())


@pytest.fixture
def home(trained, tmp_path):
    """A coordinator's home with the database of the run, for the commands that look."""
    made = initialised(tmp_path)
    for name in DATABASES:
        (made / name).unlink(missing_ok=True)
        if (trained[0].home / name).exists():
            shutil.copy(trained[0].home / name, made / name)
    return made


def test_it_learns_and_every_round_is_measured_in_its_own_figure(trained):
    federation, _ = trained
    rows = federation.store.rounds()
    assert [(row.round, row.outcome.value) for row in rows] == [(1, "committed"), (2, "committed"), (3, "committed")]  # fmt: skip
    errors = [row.metrics["mae"] for row in rows]
    start = float(np.abs(np.load(federation.test)["y"]).mean())
    assert min(errors) < 0.8 * start
    assert all(set(row.metrics) == {"mae", "loss", "examples"} for row in rows)
    assert all(sum(row.extra["errors"]) == 200 == row.metrics["examples"] for row in rows)


def test_the_evaluation_is_that_of_the_model_one_record_at_a_time(trained):
    federation, driver = trained
    last = federation.store.rounds()[-1]
    weights = dict(zip(("bias", "weight"), np.split(driver.learned.model.astype(np.float64), [1]), strict=True))  # fmt: skip
    arrays = np.load(federation.test)
    lengths = arrays["X"][:, 0].astype(int)
    means = [row[1 : 1 + n].mean() for row, n in zip(arrays["X"], lengths, strict=True)]
    said = np.column_stack([means, lengths / odd.LONGEST]) @ weights["weight"] + weights["bias"]
    away = np.abs(said - arrays["y"])
    assert last.metrics["mae"] == pytest.approx(
        np.minimum(away, odd.CLIP).mean(), abs=0.5 / odd.UNIT
    )
    assert last.metrics["loss"] == pytest.approx((away**2).mean(), rel=1e-5)


def test_the_best_model_is_the_one_with_the_smallest_error(trained):
    federation, driver = trained
    rows = federation.store.rounds()
    best = min(rows, key=lambda row: row.metrics["mae"])
    saved = checkpoint.load(driver.run.folder / "best.safetensors", sha256=best.model_sha256)
    assert saved.metadata["round"] == str(best.round)


def test_a_plan_that_names_no_metric_is_judged_by_the_tasks_first_and_another_is_refused(trained):
    federation, _ = trained
    assert plan(federation).evaluation.metric == "mae"
    assert plan(federation).task.version == odd.SPEC.version
    assert Plan.model_validate_json(plan(federation).model_dump_json()) == plan(federation)
    wanted = (
        r"evaluation\.metric: 'accuracy' is not measured by length 0\.3\.0; choose one of mae, loss"
    )
    with pytest.raises(ConfigError, match=wanted):
        submit(federation.store, plan(federation, evaluation__metric="accuracy"))


def test_a_round_with_a_larger_error_is_undone(tmp_path, monkeypatch):
    odd.install(monkeypatch)
    pieces = [odd.write_series(tmp_path / f"{k}.npz", 60, k) for k in range(5)]
    federation = Federation(tmp_path, pieces=pieces)
    judged = plan(federation, evaluation__reject_below=0.05, rounds__attempts=1)
    driver, first = federation.driver(judged)
    evaluate = driver.run.evaluate
    worse = iter((0.5, 0.56))

    def says(vector):
        kept = evaluate(vector)
        return type(kept)({**kept.metrics, "mae": next(worse)}, kept.kept)

    object.__setattr__(driver.run, "evaluate", says)
    with pytest.raises(Exception, match="CANARY"):
        driver.drive(first)
    rows = federation.store.rounds()
    assert [(row.round, row.outcome.value) for row in rows] == [(1, "committed"), (2, "aborted")]
    assert "mae 0.56 is more than 0.05 worse" in rows[1].extra["detail"]
    federation.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_its_figures_and_views_and_nothing_of_other_tasks(found, language):
    html = report_page(found, language, made=1.75e9)
    last = found.records[-1].metrics
    for text in (
        {"en": "Mean error", "zh": "平均误差"}[language], f"{last['mae']:.3f} cm",
        {"en": "Squared error", "zh": "平方误差"}[language], {"en": "Share below", "zh": "累计"}[language],
        "up to 0.5 cm", "of nothing in particular", "Halves",
    ):  # fmt: skip
        assert text in html, text
    for text in ("Accuracy", "准确率", "Macro", "onfusion", "混淆"):
        assert text not in html, text


def test_the_commands_that_look_show_its_first_metric_in_their_column(home, found):
    wanted = f"{found.records[-1].metrics['mae']:.3f} cm"
    for command in (("rounds",), ("report",)):
        shown = run(home, *command, columns=200).stdout
        assert wanted in shown
        assert " mae " in shown
        assert "accuracy" not in shown
    assert re.search(rf"test mean error +{wanted}", run(home, "report", columns=200).stdout)
    on_narrow = run(home, "rounds", columns=30, terminal=True).stdout
    assert " mae " not in on_narrow


def test_csv_and_json_carry_its_metrics_under_their_names(home, found):
    rows = list(csv.DictReader(io.StringIO(run(home, "rounds", "--csv").stdout)))
    assert [float(row["mae"]) for row in rows] == [r.metrics["mae"] for r in found.records]
    assert list(rows[0])[-3:] == ["mae", "loss", "model_sha256"]
    report = json.loads(run(home, "report", "--json").stdout)
    assert report["metrics"] == dict(found.records[-1].metrics)
    assert report["errors_known"] == 200
    assert "classification" not in report


def test_exports_and_the_picture_of_top_carry_it_too(found):
    last = list(points(found))[-1].values
    assert {name for name in last if name.startswith("quality/")} == {"quality/mae", "quality/loss"}
    status = {"url": "u", "pid": None, "agents": []}
    picture = Picture(status, Now(), {}, run=found.run, records=found.records, headline=found.scoring.headline, rounds=3, limit=8.0)  # fmt: skip
    shown = [cell for part in draw(picture, 0.0, 100).renderables for column in getattr(getattr(part, "renderable", None), "columns", ()) for cell in column.cells]  # fmt: skip
    assert f"{found.records[-1].metrics['mae']:.3f} cm" in [str(cell) for cell in shown]
