"""What the `coordinator` commands do: through the admin socket while `serve` runs, else on the database."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.admin_client import call
from coordinator.config import CoordinatorConfig, load_config
from coordinator.membership import agents_of
from coordinator.plan import Plan, load_plan
from coordinator.records import Outcome
from coordinator.setup import identity_path
from coordinator.store import Store
from coordinator.tls import tls_folder
from coordinator.transport import Presence
from shared.data.probe import probe
from shared.errors import Busy, ConfigError, RunFailed, RunLost, TransportError
from shared.files import exclusive_lock
from shared.identity import Identity
from shared.join import Keys

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
            answer = tokens_of(store, home, config, names, ttl_s, hold=hold)
    tokens: dict[str, str] = answer
    return tokens


def tokens_of(
    store: Store,
    home: Path,
    config: CoordinatorConfig,
    names: Sequence[str],
    ttl_s: float,
    *,
    hold: bool,
) -> dict[str, str]:
    from coordinator.enrollment import create_invites  # noqa: PLC0415 - only for invitations
    from coordinator.tls import authority_fingerprint  # noqa: PLC0415

    tokens = create_invites(
        store,
        list(names),
        ttl_s=float(ttl_s),
        url=config.url,
        authority=authority_fingerprint(home, config),
        keys=keys_of(home, config),
        hold=hold,
    )
    return {token.name: token.encode() for token in tokens}


def keys_of(home: Path, config: CoordinatorConfig) -> Keys:
    """The public keys that joining devices pin."""
    coordinator = Identity.load(identity_path(home)).public
    return Keys(coordinator, bytes.fromhex(config.federation_public))


def export_candidate(home: Path, epoch: int | None = None) -> bytes:
    """The next roster, unsigned; with a higher epoch when one is given."""
    config = load_config(home)
    answer = call(home, "roster-export", epoch=epoch)
    if answer is None:
        with Store.open(home) as store:
            answer = candidate_of(store, config, epoch)
    return str(answer["candidate"]).encode()


def candidate_of(
    store: Store, config: CoordinatorConfig, epoch: int | None = None
) -> dict[str, str]:
    from coordinator.roster_files import export_roster  # noqa: PLC0415

    public = bytes.fromhex(config.federation_public)
    return {"candidate": export_roster(store, public, epoch=epoch).decode()}


def import_signed(home: Path, signed: bytes) -> int:
    """Put a signed roster into force; its epoch."""
    config = load_config(home)
    answer = call(home, "roster-import", signed=signed.decode("utf-8", "replace"))
    if answer is not None:
        return int(answer["epoch"])
    with Store.open(home) as store:
        return import_into(store, config, signed)


def import_into(store: Store, config: CoordinatorConfig, signed: bytes) -> int:
    from coordinator.roster_files import import_roster  # noqa: PLC0415

    return import_roster(store, signed, bytes.fromhex(config.federation_public)).roster.epoch


def submit_plan(home: Path, path: Path) -> dict[str, Any]:
    """Queue a plan at the running coordinator: {run, new, rounds}.

    Raises:
        TransportError: no coordinator serves this home.
    """
    load_config(home)
    plan = load_plan(path)
    if plan.evaluation.data is not None:
        probe(plan.evaluation.data)
    answer = call(home, "submit", plan=plan.model_dump(mode="json"))
    if answer is None:
        raise TransportError(
            f"no coordinator is serving {home}; start it with: coordinator serve --home {home}"
        )
    return answer


def follow_run(home: Path, submitted: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Show the run's progress on stderr, unless `quiet`, until it ends; its report.

    Raises:
        RunFailed: the run ended without its last round; it can be continued.
        RunLost: agents have been further than the database; it cannot.
    """
    from rich.console import Console  # noqa: PLC0415

    from coordinator.follow import Display, tail  # noqa: PLC0415
    from shared.console import stderr  # noqa: PLC0415
    from shared.event_log import Event  # noqa: PLC0415

    path = home / "runs" / str(submitted["run"]) / "events.jsonl"
    shown = Console(stderr=True, quiet=True) if quiet else stderr
    display = Display(shown, int(submitted["rounds"]))
    ended = ""
    ahead = read_status(home)["run"]
    if ahead not in (None, submitted["run"]):
        stderr.print(f"waiting for run {ahead} to end first", markup=False)
    try:
        for line in tail(
            path, int(submitted["log_size"]), lambda: call(home, "status") is not None
        ):
            display.show(line)
            ended = line.event
    except KeyboardInterrupt:
        display.close()
        stderr.print(
            "the run goes on at the coordinator; look with: coordinator status", markup=False
        )
        raise
    finally:
        display.close()
    report = read_report(home, str(submitted["run"]))
    if ended != Event.RUN_FINISH:
        reason = report["reason"] or "the coordinator stopped"
        kind = RunLost if report["state"] == "lost" else RunFailed
        raise kind(f"run {submitted['run']} did not finish: {reason}")
    return report


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


def status_of(
    store: Store, home: Path, config: CoordinatorConfig, presence: Mapping[bytes, Presence]
) -> dict[str, Any]:
    """Fields that do not depend on a running process, and agents as the gateway sees them."""
    shown = ("name", "state", "last_seen")
    agents = [{key: agent[key] for key in shown} for agent in agents_of(store, presence)]
    return {
        "url": config.url,
        "ca_file": str(config.authority or tls_folder(home) / "ca.pem"),
        "pid": None,
        "superlink_pid": None,
        "run": None,
        "round": None,
        "stage": None,
        "last_run": last_run_of(store),
        "agents": agents,
    }


def last_run_of(store: Store) -> dict[str, Any] | None:
    """The newest run and how far it came."""
    run = store.last_run()
    if run is None:
        return None
    return {
        "run": run.run_id,
        "state": str(run.state),
        "reason": run.reason,
        "committed": store.count_rounds(run.run_id).get("committed", 0),
        "rounds": Plan.model_validate_json(run.plan).rounds.count,
    }


def read_report(home: Path, run_id: str | None, *, last: int | None = None) -> dict[str, Any]:
    """The report of one run, or of the last run; `last`: with the newest so many attempts alone."""
    from coordinator.reports import build  # noqa: PLC0415

    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = store.run(run_id) if run_id is not None else store.last_run()
        if run is None:
            raise ConfigError(f"{home}: no run yet; start one with: coordinator run plan.toml")
        records, folder = store.rounds(run.run_id, last=last), home / "runs" / run.run_id
        if not any(record.outcome is Outcome.COMMITTED for record in records):
            newest = store.last_committed(run.run_id)
            records = records if newest is None else [newest, *records]
        return build(run, records, folder, store.totals(run.run_id))


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
