"""`coordinator export`: what it writes is read back with the own readers of TensorBoard and MLflow."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from look_bench import fill, initialised, run
from reports_bench import a_record, facts_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgeveil.coordinator.records.records import Outcome, RunState
from edgeveil.coordinator.reports.exports import tensorboard_files
from edgeveil.coordinator.reports.exports.points import points, settings
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.terminal.progress import silent

MLFLOW_HOST = "127.0.0.1:9"  # where nothing listens


@pytest.fixture
def home(tmp_path):
    home = initialised(tmp_path)
    with Store.open(home) as store:
        run_id = fill(store, 12, abort=0.2)
    return home, run_id


@pytest.fixture(scope="module")
def memory():
    """A folder that is not on a disk: MLflow makes its tables with a hundred fsyncs."""
    shared_memory = Path("/dev/shm")
    parent = shared_memory if os.access(shared_memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tables(memory):
    """A database with MLflow's tables; making them takes seconds of work even in memory."""
    from mlflow import MlflowClient

    path = memory / "tables.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").create_experiment("another")
    return path


@pytest.fixture
def database(tables, tmp_path):
    path = tables.with_name(f"{tmp_path.name}.db")
    shutil.copyfile(tables, path)
    return path


def records_of(home, run_id):
    with Store.open(home, read_only=True) as store:
        return [r for r in store.rounds(run_id) if r.outcome is Outcome.COMMITTED]


def one_more_round(home, run_id, number):
    names = [f"agent-{k}" for k in range(1, 5)]
    with Store.open(home) as store:
        store.open_attempt(run_id, number)
        store.record_round(a_record(number, names, rng=random.Random(7), run_id=run_id))


def curves(folder):
    """TensorBoard's own reading: name → [(step, value, wall time)], double ones included."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    return {
        name: [
            (e.step, float(e.tensor_proto.float_val[0]), e.wall_time) for e in read.Tensors(name)
        ]
        for name in read.Tags()["tensors"]
    }


def test_tensorboard_shows_every_committed_round_once(home, tmp_path):
    home, run_id = home
    said = run(home, "export", run_id, "--tensorboard", tmp_path / "boards").stdout
    assert run_id in said
    found, wanted = curves(tmp_path / "boards" / run_id), records_of(home, run_id)
    assert [step for step, _, _ in found["quality/accuracy"]] == [r.round for r in wanted]
    for record, (_, value, at) in zip(wanted, found["quality/accuracy"], strict=True):
        assert value == pytest.approx(record.metrics["accuracy"], rel=1e-6)
        assert at == record.finished
    assert [v for _, v, _ in found["round/agents_in_the_sum"]] == [len(r.survived) for r in wanted]
    spent = [v for _, v, _ in found["privacy/epsilon_at_most"]]
    assert spent == sorted(spent)
    assert spent[-1] > 0


def test_a_second_export_to_tensorboard_adds_only_the_new_round(home, tmp_path):
    home, run_id = home
    boards = tmp_path / "boards"
    run(home, "export", "--tensorboard", boards)
    before, files = curves(boards / run_id), sorted((boards / run_id).iterdir())
    assert ": 0 new values" in run(home, "export", "--tensorboard", boards).stdout
    assert sorted((boards / run_id).iterdir()) == files
    one_more_round(home, run_id, 13)
    run(home, "export", "--tensorboard", boards)
    after = curves(boards / run_id)
    assert {name: values[:-1] for name, values in after.items()} == before
    assert {values[-1][0] for values in after.values()} == {13}


def test_an_export_that_was_cut_off_is_completed(tmp_path):
    made = list(points(facts_of(20, 4)))
    tensorboard_files.export(tmp_path, made, silent)
    whole = curves(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 5])
    added = tensorboard_files.export(tmp_path, made, silent)
    assert 0 < added < sum(len(values) for values in whole.values())
    assert {name: sorted(values) for name, values in curves(tmp_path).items()} == whole


def test_mlflow_holds_the_plan_and_every_committed_round_once(home, memory):
    home, run_id = home
    uri = f"sqlite:///{memory}/runs.db"
    first = run(home, "export", "--mlflow", uri, "--json").stdout
    assert run_id in first
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    number = client.get_experiment_by_name("edgeveil").experiment_id
    (kept,) = client.search_runs([number])
    assert kept.info.run_name == run_id
    assert kept.info.status == "FINISHED"
    assert kept.data.params["training.epsilon"] == "8.0"
    assert kept.data.tags["edgeveil.run"] == run_id
    assert set(kept.data.tags) == {"edgeveil.run", "edgeveil.plan_sha256", "mlflow.runName"}
    wanted = records_of(home, run_id)

    def history(name):
        return [(m.step, m.value, m.timestamp) for m in client.get_metric_history(kept.info.run_id, name)]  # fmt: skip

    accuracy = [(r.round, r.metrics["accuracy"], int(r.finished * 1000)) for r in wanted]
    assert history("quality/accuracy") == accuracy
    assert '"new": 0' in run(home, "export", "--mlflow", uri, "--json").stdout
    assert history("quality/accuracy") == accuracy
    one_more_round(home, run_id, 13)
    run(home, "export", "--mlflow", uri)
    assert history("quality/accuracy")[:-1] == accuracy
    assert history("round/seconds")[-1][0] == 13
    assert len(client.search_runs([number])) == 1
    assert (memory / "runs.db").stat().st_mode & 0o077 == 0


def test_no_agent_appears_in_what_leaves(home, database, tmp_path):
    home, _ = home
    run(home, "export", "--tensorboard", tmp_path / "b", "--mlflow", f"sqlite:///{database}")
    paths = [path for path in (tmp_path / "b").rglob("*") if path.is_file()]
    for path in [*paths, database]:
        assert b"agent-" not in path.read_bytes(), path
    assert settings(facts_of(3, 4))["rounds.count"] == "3"


@pytest.mark.parametrize(
    ("uri", "code", "sentence"),
    [
        ("file:///tmp/runs", 2, "name a server or a database file"),
        ("databricks", 2, "name a server or a database file"),
        ("https://me:secret@mlflow.example.org", 2, "MLFLOW_TRACKING_PASSWORD"),
        (f"http://{MLFLOW_HOST}", 69, "does not take the run"),
        ("sqlite:////proc/nowhere/runs.db", 2, "this path cannot be made"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_a_sentence(home, uri, code, sentence, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer = run(home[0], "export", "--mlflow", uri, check=False)
    assert answer.returncode == code, answer.stderr
    assert sentence in answer.stderr
    assert "secret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_file_that_is_no_database_is_left_alone(home, tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("not a database, but somebody's notes\n" * 100)
    answer = run(home[0], "export", "--mlflow", f"sqlite:///{path}", check=False)
    assert (answer.returncode, "cannot use this database" in answer.stderr) == (2, True), (
        answer.stderr
    )
    assert path.read_text().startswith("not a database")


def test_it_asks_where_to(home):
    answer = run(home[0], "export", check=False)
    assert (answer.returncode, "--tensorboard DIR" in answer.stderr) == (2, True)


@pytest.mark.parametrize(("tool", "target"), [("tensorboard", "boards"), ("mlflow", "sqlite:///x.db")])  # fmt: skip
def test_a_part_that_is_not_installed_is_named(home, tool, target, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    gone = {name: None for name in sys.modules if name.partition(".")[0] == tool} | {tool: None}
    for module in (
        "edgeveil.coordinator.reports.exports.tensorboard_files",
        "edgeveil.coordinator.reports.exports.mlflow_store",
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with patch.dict(sys.modules, gone):
        answer = run(home[0], "export", f"--{tool}", target, check=False)
    assert answer.returncode == 69
    assert f'pip install "edgeveil[{tool}]"' in answer.stderr


WATCHED = """
import sys, time
asked = []
def hook(event, arguments):
    if event in {"socket.getaddrinfo", "socket.connect", "socket.gethostbyname"}:
        asked.append((event, str(arguments)[:200]))
        raise OSError("nobody is asked from here")
sys.addaudithook(hook)
if sys.argv[1] == "mlflow":
    from mlflow import MlflowClient
    MlflowClient(tracking_uri="sqlite:///" + sys.argv[2]).create_experiment("x")
else:
    from edgeveil.coordinator.cli.app import main
    home, boards, database = sys.argv[2:]
    sys.argv = ["coordinator", "export", "--home", home, "--tensorboard", boards, "--mlflow", "sqlite:///" + database]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended.code
time.sleep(1)
print("asked", asked)
"""


def watched(*arguments):
    """What a process with no sign of a test or of CI in its environment asked of the network."""
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    ended = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.rpartition("asked ")[2].strip()


def test_an_export_to_files_asks_nobody_on_any_network(home, database, tmp_path):
    assert watched("export", home[0], tmp_path / "b", database) == "[]"
    assert "telemetry" in watched("mlflow", database), "MLflow by itself would"


def test_queued_runs_and_runs_of_every_state_can_be_exported(tmp_path, database):
    home = initialised(tmp_path)
    for state in RunState:
        with Store.open(home) as store:
            run_id = store.create_run(facts_of(1, 3).run.plan, "cd" * 32).run_id
            store.set_run_state(run_id, state)
        run(home, "export", run_id, "--mlflow", f"sqlite:///{database}")
        assert ": 0 new values" in run(home, "export", "--tensorboard", tmp_path / "b").stdout


def test_mlflow_itself_prints_nothing_beside_our_answer():
    """With a server, and only then, it would write two links to standard output, before our JSON."""
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

    from edgeveil.coordinator.reports.exports import mlflow_store  # noqa: F401 - sets it at import

    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get() is True
