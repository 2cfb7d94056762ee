"""A run as a run of MLflow: the plan as parameters, the figures as metrics by round.

Written with MLflow's client alone, so that no user name, path or commit of this machine goes along;
its telemetry is switched off before it is imported. A run is found again by its tag, and what its
metrics hold is read back, so a second export adds nothing double.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeveil.coordinator.records.records import Run, RunState
from edgeveil.coordinator.reports.exports.points import Point
from edgeveil.shared.base.errors import ConfigError, TransportError
from edgeveil.shared.terminal.progress import Step

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # our --json is there
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # or an absent server takes minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

TAG = "edgeveil.run"
BATCH, PARAMETERS = 1000, 100  # the most MLflow takes at once
SCHEMES = ("sqlite", "http", "https")
STATUS = {
    RunState.QUEUED: "SCHEDULED",
    RunState.RUNNING: "RUNNING",
    RunState.FINISHED: "FINISHED",
    RunState.STOPPED: "KILLED",
    RunState.FAILED: "FAILED",
    RunState.QUARANTINED: "FAILED",
    RunState.LOST: "FAILED",
}


@dataclass(frozen=True)
class Target:
    """Where to: a store, such as sqlite:///runs.db or https://mlflow.example.org, and an experiment in it."""

    uri: str
    experiment: str = "edgeveil"

    def check(self) -> None:
        """Raises ConfigError for a store that is not supported."""
        parts = urlsplit(self.uri)
        if parts.scheme not in SCHEMES:
            raise ConfigError(
                f"--mlflow {parts.scheme or self.uri}: name a server or a database file, such as "
                "https://mlflow.example.org or sqlite:///runs.db"
            )
        if parts.password is not None or parts.username is not None:
            raise ConfigError(
                "--mlflow: leave the password out, other users could read it; MLflow takes it from "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )


def export(
    target: Target, run: Run, plan: Mapping[str, str], points: Sequence[Point], step: Step
) -> int:
    """How many values were new.

    Raises:
        ConfigError: the store is not supported, or cannot be used.
        TransportError: its server does not answer.
    """
    target.check()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        client = MlflowClient(tracking_uri=target.uri)
        return _Exported(client, _run_id(client, target.experiment, run)).add(
            run, plan, points, step
        )
    except (MlflowException, SQLAlchemyError) as error:
        said = str(error).splitlines()[0][:300]
        if target.uri.startswith("sqlite"):
            raise ConfigError(f"{target.uri}: MLflow cannot use this database ({said})") from error
        raise TransportError(
            f"{target.uri}: MLflow does not take the run ({said}); what was taken stays, the rest "
            "follows when the command is repeated"
        ) from error


def _run_id(client: MlflowClient, experiment: str, run: Run) -> str:
    """MLflow's id of our run, made at the first export."""
    found = client.get_experiment_by_name(experiment)
    number = client.create_experiment(experiment) if found is None else found.experiment_id
    known = client.search_runs([number], filter_string=f"tags.`{TAG}` = '{run.run_id}'")
    if known:
        return str(known[0].info.run_id)
    tags = {TAG: run.run_id, "edgeveil.plan_sha256": run.plan_hash}
    made = client.create_run(number, _ms(run.created), tags, run.run_id)
    return str(made.info.run_id)


class _Exported:
    """One run of MLflow and what it holds already."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def add(self, run: Run, plan: Mapping[str, str], points: Sequence[Point], step: Step) -> int:
        self._parameters(plan)
        known = {name: self._rounds(name) for name in {n for point in points for n in point.values}}
        fresh = [
            Metric(name, value, _ms(point.at), point.round)
            for point in points
            for name, value in point.values.items()
            if point.round not in known[name]
        ]
        for at in range(0, len(fresh), BATCH):
            part = fresh[at : at + BATCH]
            self._client.log_batch(self._run_id, metrics=part)
            step(len(part))
        ended = run.state not in {RunState.QUEUED, RunState.RUNNING}
        end = _ms(points[-1].at if points else run.created) if ended else None
        self._client.set_terminated(self._run_id, STATUS[run.state], end)
        return len(fresh)

    def _parameters(self, plan: Mapping[str, str]) -> None:
        parameters = [Param(name, value) for name, value in plan.items()]
        for at in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(self._run_id, params=parameters[at : at + PARAMETERS])

    def _rounds(self, name: str) -> set[int]:
        return {int(one.step) for one in self._client.get_metric_history(self._run_id, name)}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
