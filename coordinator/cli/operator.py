"""What the `coordinator` commands do: through the admin socket while `serve` runs, else on the database."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from edgeveil.coordinator.federation import membership
from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.reports.reading import read_report
from edgeveil.coordinator.serving.admin_client import call, kind_of
from edgeveil.coordinator.serving.status import status_of
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import Busy, ConfigError, EdgeveilError, RunFailed, TransportError
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.base.files import exclusive_lock
from edgeveil.shared.events.log import Event, EventLog
from edgeveil.shared.terminal.door import Door

CHECK_S = 180.0  # devices have a minute each, and large federations are asked in waves
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_ttl(text: str) -> float:
    """Seconds of "90s", "30m", "1h", "2d"; raises ConfigError."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise ConfigError(f"--ttl {text!r}: write a number and s, m, h or d, such as 30m, 1h or 2d")
    return int(found[1]) * UNITS[found[2]]


def make_tokens(
    home: Path, names: Sequence[str], ttl_s: float, *, hold: bool = False
) -> dict[str, str]:
    """One token per name; with `hold` the devices wait for `coordinator agents approve`."""
    config = load_config(home)
    answer = call(home, "invite", names=list(names), ttl_s=ttl_s, hold=hold)
    if answer is None:
        with Store.open(home) as store:
            answer = membership.tokens_of(store, home, config, names, ttl_s, hold=hold)
    tokens: dict[str, str] = answer
    return tokens


def export_candidate(home: Path, epoch: int | None = None) -> bytes:
    """The next roster, unsigned; with a higher epoch when one is given."""
    config = load_config(home)
    answer = call(home, "roster-export", epoch=epoch)
    if answer is None:
        with Store.open(home) as store:
            answer = membership.candidate_of(store, config, epoch)
    return str(answer["candidate"]).encode()


def import_signed(home: Path, signed: bytes) -> int:
    """Put a signed roster into force; its epoch."""
    config = load_config(home)
    answer = call(home, "roster-import", signed=signed.decode("utf-8", "replace"))
    if answer is not None:
        return int(answer["epoch"])
    with Store.open(home) as store:
        return membership.import_into(store, config, signed)


def submit_plan(home: Path, path: Path, *, again: bool = False) -> dict[str, Any]:
    """Queue a plan at the running coordinator: {run, taken, rounds}; `again`: also one that has finished.

    Raises:
        TransportError: no coordinator serves this home.
    """
    return _tell_plan(home, path, "submit", again=again)


def check_plan(home: Path, path: Path) -> dict[str, Any]:
    """Who would take part in a run of a plan: what coordinator.rounds.preflight.check says.

    Raises:
        TransportError: no coordinator serves this home.
        Busy: a run is under way.
    """
    return _tell_plan(home, path, "check", within_s=CHECK_S)


def _tell_plan(home: Path, path: Path, name: str, **options: float) -> dict[str, Any]:
    load_config(home)
    plan = load_plan(path)
    if plan.evaluation.data is not None:
        from edgeveil.coordinator.runs.runs import rehearse

        rehearse(plan)
    answer = call(home, name, plan=plan.model_dump(mode="json"), **options)
    if answer is None:
        raise TransportError(
            f"no coordinator is serving {home}; start it with: coordinator serve --home {home}"
        )
    return answer


def refuse_quarantined(submitted: Mapping[str, Any]) -> NoReturn:
    """Raises an error with the exit code of what failed."""
    raise kind_of(int(submitted["code"]))(
        f"run {submitted['run']} of this plan is quarantined: {submitted['ended']}; once the cause is "
        "mended, continue it with --again, or start a changed plan"
    )


def follow_run(home: Path, submitted: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Show the run's progress on stderr, unless `quiet`, until it ends; its report.

    Raises:
        RunFailed: the run ended without its last round; the same command continues it.
        EdgeveilError: it ended for a reason that does not pass by itself, with that reason's exit code.
    """
    from edgeveil.coordinator.cli.follow import Display, tail
    from edgeveil.shared.terminal.console import stderr

    path = home / "runs" / str(submitted["run"]) / "events.jsonl"
    shown = Door(stderr=True, quiet=True) if quiet else stderr
    outcome = partial(_outcome, home, str(submitted["run"]))
    display = Display(shown, int(submitted["rounds"]), outcome)
    ended = ""
    ahead = read_status(home)["run"]
    if ahead not in (None, submitted["run"]):
        stderr.print(f"waiting for run {ahead} to end first")
    try:
        for line in tail(
            path, int(submitted["log_size"]), lambda: call(home, "status") is not None
        ):
            display.show(line)
            ended = line.event
    except KeyboardInterrupt:
        display.close()
        stderr.print("the run goes on at the coordinator; look with: coordinator status")
        raise
    finally:
        display.close()
    report = read_report(home, str(submitted["run"]))
    if ended != Event.RUN_FINISH:
        reason = report["reason"] or "the coordinator stopped; its runs continue at the next start"
        raise _failure(home, report)(f"run {submitted['run']} did not finish: {reason}")
    return report


def _outcome(home: Path, run_id: str, number: int) -> str:
    """What a round came to."""
    from edgeveil.coordinator.reports.standing import round_line

    with Store.open(home, read_only=True) as store:
        return round_line(store, store.run(run_id), number)


def _failure(home: Path, report: Mapping[str, Any]) -> Callable[[str], EdgeveilError]:
    """The kind of error as which a run ended: whether the same command works later, and if not, why."""
    if not report["reason"]:
        return RunFailed
    with Store.open(home, read_only=True) as store:
        failure = store.failure(str(report["run"]))
    temporary = failure is None or failure.code == ExitCode.TEMPORARY
    return RunFailed if temporary or failure is None else kind_of(failure.code)


def read_status(home: Path) -> dict[str, Any]:
    """The running coordinator's own answer, or what the database knows when none runs."""
    config = load_config(home)
    answer = call(home, "status")
    if answer is not None:
        return answer
    with Store.open(home, read_only=True) as store:
        found = status_of(store, home, config, {})
        last = store.last_run()
        rounds = store.rounds(last.run_id, last=1) if last is not None else []
    return found | {
        "run": last.run_id if last is not None else None,
        "round": rounds[-1].round if rounds else None,
        "stage": str(last.state) if last is not None else None,
    }


def stop_serving(home: Path, *, timeout_s: float = 15.0) -> None:
    """Ask the running coordinator to stop and wait until its lock is free.

    Raises:
        ConfigError: none runs.
        Busy: it has not stopped in time.
    """
    load_config(home)
    if call(home, "stop") is None:
        raise ConfigError(f"no coordinator is serving {home}")
    until = time.monotonic() + timeout_s
    while True:
        try:
            with exclusive_lock(home / "serve.lock", held_by="coordinator serve"):
                return
        except Busy:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def list_agents(home: Path) -> list[dict[str, Any]]:
    """Everybody who ever joined, by name; the running coordinator also knows who is connected."""
    load_config(home)
    answer = call(home, "agents")
    if answer is None:
        with Store.open(home, read_only=True) as store:
            return membership.agents_of(store, {})
    agents: list[dict[str, Any]] = answer["agents"]
    return agents


def change_agents(home: Path, change: str, names: Sequence[str], new: str = "") -> None:
    """Carry out one of CHANGES on these agents, all or none; `new` is the name of `rename`.

    Raises:
        ConfigError: an unknown or bad name.
        EnrollmentError: the new name is taken.
    """
    load_config(home)
    names = list(dict.fromkeys(names))
    if call(home, "agents-change", change=change, names=names, new=new) is not None:
        return
    with Store.open(home) as store, EventLog(home / "events.jsonl") as events:
        membership.change_in(store, events, change, names, new)


def publish_model(
    home: Path, what: str | None, which: str | None, names: Sequence[str] | None, licence: str
) -> dict[str, Any]:
    """Package the model of a run, or take a package, and offer it; `live` says whether devices see it now."""
    from edgeveil.coordinator.models import publishing

    load_config(home)
    if what is not None and what.endswith(".evm"):
        if which is not None:
            raise ConfigError("--round: a package is of one round already")
        found = publishing.publish(home, Path(what), names)
    else:
        from edgeveil.coordinator.models.export import export

        with tempfile.TemporaryDirectory(dir=home, prefix="publish-") as folder:
            file = Path(folder) / "model.evm"
            export(home, what, which, file, licence=licence)
            found = publishing.publish(home, file, names)
    return found | {"live": call(home, "models") is not None}


def withdraw_model(home: Path, which: str) -> dict[str, Any]:
    """The running coordinator stops offering it before this returns."""
    from edgeveil.coordinator.models import publishing

    found = publishing.withdraw(home, which)
    call(home, "models")
    return found


def published_models(home: Path) -> list[dict[str, Any]]:
    """As publishing.published(); `fetched` and `in_use` are names, None where no coordinator runs."""
    from edgeveil.coordinator.models import publishing

    rows, answer = publishing.published(home), call(home, "models")
    told = {} if answer is None else answer["told"]
    with Store.open(home, read_only=True) as store:
        names = {agent.agent_id.hex(): agent.name for agent in store.agents()}
    for row in rows:
        fetched = [names.get(a, a) for a, (serial, _) in told.items() if serial == row["serial"]]
        in_use = [names.get(a, a) for a, (_, model) in told.items() if model == row["model"]]
        row["fetched"] = None if answer is None else sorted(fetched)
        row["in_use"] = None if answer is None else sorted(in_use)
    return rows
