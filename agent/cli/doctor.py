"""`agent doctor`: would this device join, connect, and be able to train? Nothing is changed.

What the coordinator sees of it is a connection, a question for its health, and from a device that has
joined one signed question about itself.
"""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

from edgeveil.agent.cli.doctor_standing import BASE_MEMORY, standing
from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.delivery.receiving import tried
from edgeveil.agent.home.config import known_compute, settle
from edgeveil.agent.home.data import check_folder
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.usable import last_look
from edgeveil.agent.joining.authority import fetch_authority
from edgeveil.agent.ledger.budget import known_datasets, look_around, read_budget
from edgeveil.agent.measuring.bench import in_short
from edgeveil.agent.rounds.condition import LEAST_S, Conditions, Load
from edgeveil.shared.base.errors import EnrollmentError, PolicyRefusal
from edgeveil.shared.data.probe import count_left_out, count_records
from edgeveil.shared.doctor import checks as doctor
from edgeveil.shared.doctor.checks import MIB, Check, Finding, examine, green, red, yellow
from edgeveil.shared.doctor.network import route
from edgeveil.shared.models.package import read_package
from edgeveil.shared.wire.tokens import Token

NEEDED_DISK = 512 * MIB
NEEDED = ("torch", "opacus", "flwr", "PIL", "safetensors")
ROSTER_WARNING_DAYS = 14
OFF = 10  # times more or fewer records than declared are worth a word
JOIN = "agent run --join TOKEN --data PATH"


def diagnose(
    path: Path, *, token: Token | None, data: Path | None, dataset: str | None
) -> list[Finding]:
    """Everything there is to say about this device; `token` instead of an enrolment, before it."""
    machine: list[tuple[str, str, Check]] = [
        ("packages", "reinstall edgeveil", lambda: doctor.installation(NEEDED, "train")),
        ("cpu", "", doctor.processor),
        ("memory", "", lambda: doctor.memory(BASE_MEMORY, "training a small model")),
        ("disk", "", lambda: doctor.disk(path, NEEDED_DISK)),
        ("tasks", "reinstall edgeveil", lambda: doctor.tasks(path)),
        ("backbone", "", doctor.backbone),
        ("compute", "correct agent.toml: [compute]", lambda: _compute(path)),
        ("data", "give --data PATH", lambda: _data(path, data, dataset)),
    ]
    findings = examine(machine)
    if token is not None:
        return findings + examine([("tls", "ask for a new token", lambda: _invited(token))])
    if not path.is_dir():
        return [*findings, red("enrolment", f"{path}: no agent lives here", JOIN)]
    findings.append(doctor.private_folder(path))
    if not doctor.is_private(path):
        return findings  # AgentHome would refuse the folder
    home = AgentHome(path)
    return findings + examine(
        [
            ("keys", "restore them, or enrol again from an empty --home", lambda: _keys(home)),
            ("policy", "correct policy.toml", lambda: _policy(home)),
            ("condition", "correct policy.toml", lambda: _condition(home)),
            (
                "ledger",
                "keep it as it is: a new one would be a new budget",
                lambda: _ledger(path, dataset),
            ),
            ("size", "declare one: agent policy set n_ref=N", lambda: _size(path, data, dataset)),
            ("model", "agent model get, or agent model rollback", lambda: _model(path)),
            ("roster", "ask the operator to sign a new one", lambda: _roster(home)),
            ("network", JOIN, lambda: _network(home)),
        ]
    )


def _data(path: Path, data: Path | None, dataset: str | None) -> Finding:
    config = settle(path, data, dataset)
    check_folder(config.data)
    left = count_left_out(config.data)
    beside = f", {left} files left out (agent data check)" if left else ""
    text = f"{config.data}: {count_records(config.data)} records{beside}"
    look = last_look(path, config.dataset)
    if look is None:
        return green("data", text)
    if look.refused:
        return red("data", f"at the last start: {look.refused}", "agent run, once that is mended")
    text = f"{text}; at the last start {look.usable} of {look.found} were usable"
    if look.usable < look.found:
        return yellow("data", text, "nothing, if that is meant; which ones: agent data check")
    return green("data", text)


def _compute(path: Path) -> list[Finding]:
    """Where this device would train, and which accelerators torch sees."""
    if importlib.util.find_spec("torch") is None:
        return []  # another finding says so
    from edgeveil.agent.training.compute import Compute, described, seen

    asked = known_compute(path)
    compute = Compute.settle(asked)
    found = ", ".join(described(name) for name in seen()) or "none"
    threads = f", {asked.threads} threads" if asked.threads else ""
    how = f'device "{asked.device}": on {described(compute.device)}{threads}'
    return [green("compute", f"{how}; accelerators that torch sees here: {found}")]


def _model(path: Path) -> list[Finding]:
    """The model in use, if there is one: its self-test, and how fast it is here."""
    models = KeptModels(path)
    index = models.index()
    used = index.find(index.in_use)
    if used is None:
        return []
    if importlib.util.find_spec("onnxruntime") is None:
        return [yellow("model", "a model is in use, and nothing here runs it", 'pip install "edgeveil[infer]"')]  # fmt: skip
    tried(path, used)
    speed = in_short(read_package(models.path(used.model)))
    return [green("model", f"{used.model[:12]} passes its self-test; {speed}")]


def _keys(home: AgentHome) -> Finding:
    if home.find_pinned() is None:
        return red("keys", f"{home.path}: not enrolled yet", JOIN)
    home.identity()
    home.node_key()
    return green("keys", "identity and transport key are there, private, and the ones that joined")


def _policy(home: AgentHome) -> Finding:
    if not home.policy_path.exists():
        return green("policy", "none yet; the defaults are written at the first start")
    policy = Policy.load(home.policy_path)
    text = f"ε at most {policy.epsilon_max:g}, δ at most {policy.delta:g}"
    if policy.exempt:
        whom = ", ".join(f"{key[:16]}…" for key in sorted(policy.exempt))
        fix = "nothing, if that is meant; else: agent policy set dp_required=true"
        return yellow("policy", f"{text}; rounds without noise are allowed to {whom}", fix)
    return green("policy", text)


def _condition(home: AgentHome) -> Finding:
    """How the device stands now, and whether its owner's rule lets it train."""
    rule = (Policy.load(home.policy_path) if home.policy_path.exists() else Policy()).when
    load = Load()
    time.sleep(LEAST_S)
    conditions = Conditions(rule, load=load, paused=lambda: home.paused)
    now = conditions.now()
    flags = {"on outside power": now.charging, "charged": now.battery, "idle": now.idle}
    words = {True: "yes", False: "no", None: "unknown"}
    text = ", ".join(f"{name}: {words[value]}" for name, value in flags.items())
    try:
        conditions.check()
    except PolicyRefusal as refusal:
        return yellow("condition", f"{text}; {refusal}", "nothing, if that is meant")
    return green("condition", text)


def _ledger(path: Path, dataset: str | None) -> Finding:
    if dataset is not None and dataset not in known_datasets(AgentHome(path)):
        return green("ledger", f"{dataset}: none yet; it is made when `agent run` first starts")
    found = read_budget(path, dataset)
    remarks = look_around(path, dataset).remarks
    text = (
        f"{found.dataset}: ε {found.epsilon_spent:.3f} of {found.epsilon_limit:g} spent, "
        f"{found.epsilon_share:.0%} of it"
    )
    if not found.limited:
        why = f"{found.dataset}: ε is not limited, for ever; rounds without noise: {found.rounds_without_noise}"
        return yellow(
            "ledger",
            "; ".join((why, *remarks)),
            "nothing; agent budget --html FILE tells all of it",
        )
    if found.rounds_left == 0 or found.share_spent >= 0.99:
        return red(
            "ledger",
            text,
            "no round is possible any more, which is what the budget is for; to count anew: agent budget reset; "
            "to allow more: agent policy set epsilon_max=E --yes",
        )
    if found.share_spent >= 0.9:
        return yellow("ledger", text, "few rounds are left: agent budget")
    if remarks:
        return yellow("ledger", f"{text}; {'; '.join(remarks)}", "agent verify tells all of it")
    return green("ledger", text)


def _size(path: Path, data: Path | None, dataset: str | None) -> Finding:
    """What the public size means; the comparison with the records stays on this device."""
    n_ref = read_budget(path, dataset).n_ref
    if n_ref is None:
        return green(
            "size",
            "none declared: when `agent run` first starts it is taken from a noisy count of the records, "
            "which is charged, and stays so",
        )
    text = (
        f"this device counts as {n_ref} records (n_ref), which coordinators see: its weight in the mean; "
        "its noise there is as large as any other device's, so that fewer records carry more noise each; "
        f"δ must be below {1 / n_ref:.2g}"
    )
    records = count_records(settle(path, data, dataset).data)
    if not n_ref / OFF <= records <= n_ref * OFF:
        fix = "nothing, if that is meant; it cannot change once there is a ledger"
        more = "its steps are too short" if records < n_ref else "its steps are too long"
        return yellow("size", f"{text}; it holds {records}: {more}", fix)
    return green("size", text)


def _roster(home: AgentHome) -> Finding:
    pinned = home.pinned()
    roster = home.roster()
    if pinned.state != "member" or roster is None:
        fix = "the operator approves the device and signs a roster (coordinator agents)"
        return yellow("roster", f"{pinned.name} has joined and is on no signed roster yet", fix)
    if pinned.agent_id not in roster.roster.members:
        return red("roster", f"{pinned.name} is not on the newest roster", "ask the operator")
    fix = "ask the operator to sign a new one"
    what = f"roster epoch {roster.roster.epoch} with {len(roster.roster.members)} members"
    return doctor.expiry("roster", what, roster.roster.expires, fix, warn_days=ROSTER_WARNING_DAYS)


def _network(home: AgentHome) -> Iterator[Finding]:
    pinned = home.find_pinned()
    if pinned is None:
        raise EnrollmentError("no coordinator is known yet")
    found = list(route(pinned.url, pinned.ca_pem))
    yield from found
    if all(finding.level is not doctor.Level.RED for finding in found):
        yield from standing(home, pinned)


def _invited(token: Token) -> Iterator[Finding]:
    left = token.expires - time.time()
    if left <= 0:
        yield red("token", "this token has expired by this device's clock", "ask for a new one")
    else:
        yield green("token", f"for {token.name} at {token.url}, {left / 60:.0f} minutes left")
    yield from route(token.url, fetch_authority(token.url, token.authority, timeout_s=5.0))
