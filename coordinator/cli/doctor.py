"""`coordinator doctor`: would `coordinator serve` start, be reached, and stay trusted? Nothing is changed."""

import resource
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgeveil.coordinator.federation import tls
from edgeveil.coordinator.federation.certificates import expiry as certificate_end
from edgeveil.coordinator.federation.roster_files import is_due, is_encrypted, key_beside
from edgeveil.coordinator.federation.tls import authority_path, tls_folder
from edgeveil.coordinator.plan.config import (
    CoordinatorConfig,
    check_loopback,
    identity_path,
    load_config,
)
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.runs.runs import find_task, rehearse
from edgeveil.coordinator.serving.admin_client import call
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.base.files import read_file, read_secret
from edgeveil.shared.data.schema import IMAGES
from edgeveil.shared.doctor import checks as doctor
from edgeveil.shared.doctor.checks import MIB, Finding, examine, green, red, yellow
from edgeveil.shared.doctor.network import route
from edgeveil.shared.tasks.backbone.photos import suited
from edgeveil.shared.tasks.registry import load
from edgeveil.shared.vector.model_vector import count
from edgeveil.shared.wire.certificates import refused
from edgeveil.shared.wire.identity import Identity

BASE_MEMORY = 500 * MIB  # serve, SuperLink, signer
TORCH_MEMORY = 300 * MIB  # for evaluation
NEEDED_DISK = 2048 * MIB
FEWEST_FILES = 8192
NEEDED = ("sqlalchemy", "alembic", "flwr", "starlette", "uvicorn", "torch", "safetensors")
OPEN_SIGN = "coordinator roster sign (or export, sign where the key is, import)"


def diagnose(home: Path, plan: Path | None, *, plain_http: bool = False) -> list[Finding]:
    """Everything there is to say about this coordinator, and about a plan if one is given.

    `plain_http`: as it is served with --plain-http, TLS being a proxy's business.
    """
    findings = examine(
        [
            ("packages", "reinstall edgeveil", lambda: doctor.installation(NEEDED, "serve")),
            ("packages", 'pip install "edgeveil[serve]"', _superlink),
            ("cpu", "", doctor.processor),
            ("plan", "correct the plan", lambda: _plan(home, plan)),
            ("memory", "correct the plan", lambda: _memory(plan)),
            ("disk", "", lambda: doctor.disk(home, NEEDED_DISK)),
            ("files", "", _files),
            ("tasks", "reinstall edgeveil", lambda: doctor.tasks(home)),
            ("backbone", "", doctor.backbone),
        ]
    )
    try:
        config = load_config(home)
    except EdgeveilError as error:
        fix = "coordinator init --url https://HOST:8443, or correct coordinator.toml"
        return [*findings, red("configuration", error.message, fix)]
    fix = "put a TLS proxy in front" if plain_http else "coordinator serve renews its own"
    return findings + examine(
        [
            ("permissions", "chmod -R go= HOME", lambda: doctor.private_folder(home)),
            ("keys", "restore them from a backup", lambda: _keys(home, config)),
            ("federation", "", lambda: _federation(home, config)),
            ("database", _database_fix(config), lambda: _database(home, config)),
            ("clock", "set the clock", lambda: _clock(home)),
            ("roster", OPEN_SIGN, lambda: _roster(home)),
            ("tls", fix, lambda: _plain(config) if plain_http else _certificate(home, config)),
            ("port", "start coordinator serve", lambda: _reach(home, config)),
        ]
    )


def _superlink() -> list[Finding]:
    program = Path(sys.executable).parent / "flower-superlink"
    if program.exists():
        return []
    return [red("packages", f"{program} is missing", 'pip install "edgeveil[serve]"')]


def _files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEWEST_FILES:
        fix = f"raise it to {FEWEST_FILES} or more (LimitNOFILE= in the unit, or limits.conf)"
        return yellow("files", f"this user may open only {hard} files and connections", fix)
    return green("files", "enough files and connections may be open")


def _plan(home: Path, path: Path | None) -> Iterator[Finding]:
    """What `coordinator run` would say about it: keys, task, test data; and what is risky about it."""
    if path is None:
        return
    plan = load_plan(path)
    tested, left_out = rehearse(plan, home)
    what = f"{plan.rounds.count} rounds of {plan.task.id} {plan.task.version}"
    on = f", tested on {tested} held-out records" if tested else ""
    since = f", beginning with {plan.model.initial}" if plan.model.initial else ""
    yield green("plan", f"{path}: {what}{since}{on}")
    if left_out:
        fix = "nothing, if that is meant; all of them: agent data check --data on that folder"
        yield yellow("held-out", f"of {plan.evaluation.data} {left_out}", fix)
    if misfit := _other_pictures(plan):
        fix = "make the plan with --size and --channels as the devices declare ([data] of their policy), or the reverse"
        yield yellow("held-out", misfit, fix)
    for notice in plan.notices:
        yield yellow(
            "plan", notice, "docs/configuration.md explains [training], [secagg] and [rounds]"
        )


def _other_pictures(plan: Plan) -> str:
    """Whether a device with pictures like the held-out ones would declare others than the plan asks for."""
    if plan.evaluation.data is None:
        return ""
    task = load(find_task(plan))
    asked = task.schema(task.parse_options(plan.task.options))
    own = suited(plan.evaluation.data)
    if asked.kind != IMAGES or own.kind != IMAGES or own.shape == asked.shape:
        return ""
    here, there = (_pictures(each.shape) for each in (own, asked))
    return (
        f"a device with pictures like those of {plan.evaluation.data} declares {here} when it first starts, and the "
        f"plan asks for {there}: such a device refuses it (POLICY_TASK)"
    )


def _pictures(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'in colours'}"


def _memory(plan: Path | None) -> Finding:
    found = None if plan is None else _readable(plan)
    if found is None:
        return doctor.memory(BASE_MEMORY, "serving, without a model (give --plan FILE)")
    task = load(find_task(found))
    options = task.parse_options(found.task.options)
    values = count(task.tensors(options))
    # Model, sum and mean in 4 to 8 bytes each, and every reply that may lie in the edge store.
    model = values * (24 + 5 * found.cohort_max)
    what = f"{found.task.id} with {values:,} parameters and up to {found.cohort_max} agents"
    return doctor.memory(BASE_MEMORY + TORCH_MEMORY + model, what)


def _readable(path: Path) -> Plan | None:
    """None for a plan with mistakes, of which another finding tells."""
    try:
        return load_plan(path)
    except EdgeveilError:
        return None


def _keys(home: Path, config: CoordinatorConfig) -> Finding:
    Identity.load(identity_path(home))
    if config.certificate_key is not None:
        read_secret(config.certificate_key.resolve())
    else:
        read_secret(tls_folder(home) / "ca.key")
    return green("keys", "identity and certificate keys are there and private")


def _federation(home: Path, config: CoordinatorConfig) -> Finding:
    path = key_beside(home, config)
    if path is None:
        return green("federation", "the federation key is not on this machine")
    if config.federation_folder is not None:
        encrypted = is_encrypted(path)  # raises when it is gone or open to others
        if encrypted:
            fix = "remove federation_folder from coordinator.toml and sign yourself"
            return red("federation", f"{path}: encrypted, the signer process cannot open it", fix)
        return yellow(
            "federation",
            "one-machine mode: whoever takes this machine over can admit members of their own",
            "keep the key on another machine (README, With the federation key offline)",
        )
    fix = f"move {path.parent} to another machine, or an encrypted stick, and delete it here"
    return yellow("federation", f"{path}: the federation key is on the coordinator's machine", fix)


def _database_fix(config: CoordinatorConfig) -> str:
    if config.store.url is None:
        return "restore it from a backup"
    return "start the server, or correct [store] in coordinator.toml"


def _database(home: Path, config: CoordinatorConfig) -> Finding:
    with Store.open(home, read_only=True) as store:
        agents, runs, name = store.agents(), store.runs(), store.name
    where = "" if config.store.url is None else f" in {name}"
    return green("database", f"{len(agents)} agents, {len(runs)} runs{where}")


def _clock(home: Path) -> Finding:
    """Nothing here can have been written in the future; more cannot be known without a peer."""
    written = max(path.stat().st_mtime for path in home.iterdir() if path.is_file())
    if written > time.time() + 5:
        ago = written - time.time()
        text = f"files of this home were written {ago:.0f} s in the future: the clock has gone back"
        return red("clock", text, "set the clock, best by NTP (timedatectl set-ntp true)")
    return green("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _roster(home: Path) -> Iterator[Finding]:
    with Store.open(home, read_only=True) as store:
        signed, due = store.roster(), is_due(store)
        held = [agent.name for agent in store.agents() if agent.held]
    if held:
        names = " ".join(held)
        yield yellow("roster", f"awaiting approval: {names}", f"coordinator agents approve {names}")
    if signed is None:
        if due:
            yield yellow("roster", "devices have joined, and no roster is signed yet", OPEN_SIGN)
        else:
            yield yellow("roster", "nobody has joined yet", "coordinator invite NAME…")
        return
    what = f"roster epoch {signed.roster.epoch} with {len(signed.roster.members)} members"
    yield doctor.expiry("roster", what, signed.roster.expires, OPEN_SIGN)
    if due:
        yield yellow("roster", "somebody joined or was revoked since it was signed", OPEN_SIGN)


def _plain(config: CoordinatorConfig) -> Finding:
    check_loopback(config.address[0])
    return green("tls", f"a proxy's business: {config.listen} is for this machine alone")


def _certificate(home: Path, config: CoordinatorConfig) -> Iterator[Finding]:
    chain = config.certificate or tls_folder(home) / "server.pem"
    key = config.certificate_key or tls_folder(home) / "server.key"
    try:
        tls.rehearse(chain, key.resolve(), authority_path(home, config), config.host)
    except ssl.SSLError as error:
        fix = "restart coordinator serve, which makes a new one for the names in `url` and `hosts`"
        if config.certificate:
            fix = "put a valid certificate for the host in `url` and its key in place"
        yield red("tls", f"{chain}: agents would refuse it: {refused(error)[0]}", fix)
        return
    fix = (
        "renew it; coordinator serve renews its own"
        if config.certificate
        else "start coordinator serve"
    )
    yield doctor.expiry("tls", f"the certificate for {config.host}", certificate_end(chain), fix)
    authority = authority_path(home, config)
    fix = "a new authority means that every device joins anew: plan it"
    yield doctor.expiry("tls", "the authority", certificate_end(authority), fix, warn_days=90)


def _reach(home: Path, config: CoordinatorConfig) -> Iterator[Finding]:
    """The public way when it runs; otherwise whether the port is free."""
    if call(home, "status") is not None:
        yield from route(config.url, read_file(authority_path(home, config)))
        return
    host, port = config.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = "stop the other program, or choose another port in coordinator.toml"
            yield red("port", f"{config.listen} cannot be used ({error.strerror})", fix)
            return
    yield green("port", f"{config.listen} is free; coordinator serve is not running")
    try:
        known = sorted({str(info[4][0]) for info in socket.getaddrinfo(config.host, None)})
    except OSError as error:
        yield red("dns", f"{config.host} has no address ({error})", "check the name in `url`")
        return
    yield green("dns", f"{config.host} is {', '.join(known)}")
