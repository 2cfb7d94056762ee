"""What the coordinator says about this device, as findings of `agent doctor`."""

from collections.abc import Iterator

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.joining.whoami import ask
from edgeveil.agent.training.memory import chunk_memory
from edgeveil.shared.base.errors import ConfigError, NotInstalled, ProtocolError
from edgeveil.shared.doctor import checks as doctor
from edgeveil.shared.doctor.checks import MIB, Finding, green, red, yellow
from edgeveil.shared.tasks.registry import find, installed_tasks, load
from edgeveil.shared.vector.model_vector import count
from edgeveil.shared.wire.standing import PlannedTask, Standing

# Measured by scripts/bench_agent_memory.py (docs/benchmarks.md): Python with torch and Opacus; copies of
# the model while gradient engines are compared; one chunk of records, which follows the free memory.
BASE_MEMORY = 800 * MIB
BYTES_PER_PARAMETER = 220
CHUNKS = 1.2
NEW_INVITATION = "ask the operator: a new invitation is joined from an empty --home"
_REFUSALS = {
    "revoked": ("this device has been revoked", NEW_INVITATION),
    "unknown_key": (
        "the coordinator has no roster in force that holds this device",
        "the operator looks at: coordinator agents, and signs a roster",
    ),
    "signature": (
        "the coordinator refuses this device's signature: keys of this home are not the enrolled ones",
        "restore the keys this device joined with, or " + NEW_INVITATION,
    ),
    "clock_skew": (
        "the coordinator refuses this device's clock",
        "set the clock, best by NTP (timedatectl set-ntp true)",
    ),
    "version": ("the coordinator speaks another protocol version", "update the older of the two"),
}


def standing(home: AgentHome, pinned: Pinned) -> Iterator[Finding]:
    """Is this device known there, is it the newest copy, do tasks agree, would the next plan fit?"""
    found = ask(home, pinned)
    if isinstance(found, str):
        yield _refused(found, pinned)
        return
    yield green("enrolment", f"the coordinator knows this device as {found.name}")
    yield from _copies(home, found)
    yield from _tasks(found)
    if found.plan is not None:
        yield _planned(found.plan)


def _refused(code: str, pinned: Pinned) -> Finding:
    if code == "unknown_key" and pinned.state == "pending":
        fix = "the operator approves the device and signs a roster (coordinator agents)"
        return yellow("enrolment", f"{pinned.name} is on no roster yet", fix)
    if code in {"404", "not_found"}:
        fix = "the operator updates the coordinator"
        return yellow("enrolment", "this coordinator answers no doctor: an older version", fix)
    if code in _REFUSALS:
        text, fix = _REFUSALS[code]
        return red("enrolment", text, fix)
    return yellow("enrolment", f"the coordinator gives no answer now ({code})", "try again later")


def _copies(home: AgentHome, found: Standing) -> Iterator[Finding]:
    own = home.last_session()
    if found.session > own:
        text = (
            f"the coordinator has seen start {found.session} of this device, this home only {own}: "
            "it is an older copy, and the newer one is in use"
        )
        fix = "go on with the newer copy; if it is not yours, have the operator revoke this device"
        yield red("copies", text, fix)
    roster = home.roster()
    if roster is not None and found.epoch < roster.roster.epoch:
        text = (
            f"the coordinator is at roster epoch {found.epoch}, this device has seen "
            f"{roster.roster.epoch}: it was set back, and this device will refuse its rounds"
        )
        yield red("roster", text, "ask the operator to sign rosters until the epoch is higher")


def _tasks(found: Standing) -> Iterator[Finding]:
    """Both sides must have the same code, or every offer is refused."""
    own, theirs = set(installed_tasks()), set(found.tasks)
    for task in sorted(theirs - own, key=lambda each: (each.id, each.version)):
        other = [each.version for each in own if each.id == task.id]
        what = (
            "other code under the same version" if task.version in other else "not installed here"
        )
        yield yellow(
            "tasks",
            f"the coordinator's {task.id} {task.version} ({task.code[:16]}): {what}",
            "install the coordinator's version of edgeveil here, or its file of an own task: agent task install",
        )


def _planned(plan: PlannedTask) -> Finding:
    """Raises ConfigError when the plan cannot be read here."""
    try:
        task = load(find(plan.id, plan.version))
        values = count(task.tensors(task.parse_options(dict(plan.options))))
    except ProtocolError as error:
        raise ConfigError(f"the planned task cannot run here: {error.message}") from error
    except NotInstalled as error:
        return red("tasks", f"the planned task cannot run here: {error.message}", error.command)
    what = f"training the planned {plan.id} with {values:,} parameters"
    return doctor.memory(needed_memory(values), what)


def needed_memory(values: int) -> int:
    """Bytes an agent takes at most while it trains a model of so many parameters."""
    chunk, _ = chunk_memory()
    return BASE_MEMORY + BYTES_PER_PARAMETER * values + int(CHUNKS * chunk)
