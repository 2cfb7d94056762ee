"""`agent join` and `agent run`: from a token to a device that answers rounds until it is stopped.

The composition root of the agent. flwr is imported only once this device is a member and its data and
policy have passed their checks; torch and opacus in the background, once it is connected.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edgeveil.agent.home.config import AgentConfig, save, settle
from edgeveil.agent.home.data import DataShelf, check_folder
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.log import FILE, log_to
from edgeveil.agent.home.policy import DataPolicy, Policy
from edgeveil.agent.joining.enrollment import JoinState, join, wait_until_member
from edgeveil.agent.ledger.fingerprint import check_dataset
from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.agent.reports.page_view import JOURNAL
from edgeveil.agent.rounds.condition import Conditions
from edgeveil.agent.rounds.device import Device, Watch, torch_trainer
from edgeveil.agent.rounds.embedding import completion
from edgeveil.agent.rounds.warm_up import WarmSession
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import as_text, write_atomic
from edgeveil.shared.data.probe import raw_records
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.tasks.backbone.photos import suited
from edgeveil.shared.terminal.argv import hide_argument
from edgeveil.shared.terminal.progress import progress
from edgeveil.shared.wire.tokens import Token

Status = Callable[[str], None]
NEEDED = ("torch", "opacus", "flwr", "PIL")
BYTE_ORDER_MARK = "\ufeff"  # some shells put one before what they pipe
RENEW_S = 1.0  # before a session follows one that ended, so that no gateway can make us spin


def read_token(text: str) -> Token:
    """A token given as itself, as @FILE, or as - for standard input."""
    if text == "-":
        import sys  # noqa: PLC0415 - only for this spelling

        return Token.decode(sys.stdin.readline().lstrip(BYTE_ORDER_MARK))
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            return Token.decode(as_text(path.read_bytes()))  # a pipe is fine here
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot read the token file ({error})") from error
    hide_argument(text)
    return Token.decode(text)


def install_policy(home: AgentHome, given: Path | None) -> Policy:
    """The owner's policy.toml; made from `given` or the defaults when there is none yet."""
    if given is not None:
        policy = Policy.load(given)
        write_atomic(home.policy_path, policy.to_toml().encode())
    elif not home.policy_path.exists():
        write_atomic(home.policy_path, Policy.default().to_toml().encode())
    return Policy.load(home.policy_path)


def pin_data(home: AgentHome, policy: Policy, data: Path, on_status: Status) -> Policy:
    """The policy with what the records are; where it does not say so yet, as the folder is now, for good.

    Raises:
        DataError: nothing that a task could read.
    """
    if policy.data is not None:
        return policy
    made = policy.model_copy(update={"data": DataPolicy.of(suited(data))})
    write_atomic(home.policy_path, made.to_toml().encode())
    on_status(f"policy.toml: data is fixed as {made.data}")
    return Policy.load(home.policy_path)


def _filled(
    home: AgentHome, config: AgentConfig, policy: Policy, on_status: Status, watch: Watch
) -> DataShelf:
    """Read, and looked at, before this device connects, so that no answer's time depends on the records."""
    schema = None if policy.data is None else policy.data.as_schema()
    complete = completion(home, policy, config.compute, on_status, watch)
    shelf = DataShelf(config.data, on_status, schema, complete)
    shelf.fill()
    return shelf


def join_device(
    path: Path, token: Token, *, data: Path | None, policy: Path | None, dataset: str | None
) -> JoinState:
    """Check everything local first, then join; nothing is sent before the device is ready."""
    _check_given(data, policy)
    home = AgentHome(path)
    with home.lock():
        own_policy = install_policy(home, policy)
        if data is not None:
            config = settle(path, data, dataset)
            pin_data(home, own_policy, config.data, lambda _sentence: None)
            save(path, config)
        return join(home, token)


def run_device(
    path: Path,
    *,
    token: Token | None,
    data: Path | None,
    policy: Path | None,
    dataset: str | None,
    accept_policy: bool,
    on_status: Status,
    page: str | None = None,
    quiet: bool = False,
) -> None:
    """Answer rounds until SIGINT or SIGTERM.

    Raises:
        EnrollmentError: not enrolled, revoked, or another process runs with this identity.
        TransportError: the coordinator's certificate does not verify.
        DataError, ConfigError, StateDamaged, Busy: named in the message.
        ModuleNotFoundError: what training needs is not installed; no token was used up.
    """
    _check_installed()
    _check_given(data, policy)
    home = AgentHome(path)
    stop = _stop_on_signals()
    with home.lock():
        own_policy, config = _settle(
            home, token, data=data, policy=policy, dataset=dataset, on_status=on_status
        )
        log_to(path / FILE, SystemClock())
        _become_member(home, stop, on_status)
        if not stop.is_set():
            if config.compute.device != "cpu":
                torch_trainer(config.compute)  # says at once what is not there
            metrics, conditions = OwnMetrics(), Conditions(own_policy.when)
            watch = partial(progress, quiet=quiet)
            with _owners_view(path, config.dataset, page, on_status, metrics) as journal:
                device = Device(
                    home=home,
                    pinned=home.pinned(),
                    signer=home.identity(),
                    policy=own_policy,
                    dataset_id=config.dataset,
                    shelf=_filled(home, config, own_policy, on_status, watch),
                    clock=SystemClock(),
                    on_status=on_status,
                    accept_looser=accept_policy,
                    may_train=conditions.check,
                    journal=journal,
                    fsynced=metrics.took,
                    trainer=partial(torch_trainer, config.compute),
                    progress=watch,
                )
                _answer_rounds(device, stop, conditions)
    on_status("stopped")


def _check_installed() -> None:
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _check_given(data: Path | None, policy: Path | None) -> None:
    """Raise for what was named on the command line, before anything changes."""
    if data is not None:
        check_folder(data)
    if policy is not None:
        Policy.load(policy)


def _settle(
    home: AgentHome,
    token: Token | None,
    *,
    data: Path | None,
    policy: Path | None,
    dataset: str | None,
    on_status: Status,
) -> tuple[Policy, AgentConfig]:
    """Policy and data of this device, checked and kept; then it joins, if it has a token."""
    if token is None and home.join_token() is None:
        home.pinned()
    own_policy = install_policy(home, policy)
    config = settle(home.path, data, dataset)
    check_folder(config.data)
    check_dataset(home.ledger_folder, config.dataset, raw_records(config.data))
    own_policy = pin_data(home, own_policy, config.data, on_status)
    save(home.path, config)
    if token is not None:
        join(home, token)
    return own_policy, config


def _become_member(home: AgentHome, stop: threading.Event, on_status: Status) -> None:
    """Return once this device is in the roster, or `stop` is set."""
    if home.find_pinned() is None or home.pinned().state != "member":
        threading.Thread(target=_warm_up, daemon=True).start()
    wait_until_member(home, stop, on_status)


@contextlib.contextmanager
def _owners_view(
    path: Path, dataset: str, page: str | None, on_status: Status, metrics: OwnMetrics
) -> Iterator[EventLog]:
    """The journal of this device and, when `page` names an address, the page that shows it."""
    if page is None:
        with EventLog(path / JOURNAL) as journal:
            yield journal
        return
    from edgeveil.agent.reports.page import owners_page  # noqa: PLC0415 - a web server only when asked for

    shown = owners_page(path, dataset, page, metrics)
    with EventLog(path / JOURNAL, watch=lambda _: shown.ring()) as journal:
        shown.start()
        on_status(f"page {shown.url}")
        try:
            yield journal
        finally:
            shown.stop()


def _warm_up() -> None:
    """Import what takes seconds while the roster is being waited for."""
    with contextlib.suppress(ImportError):  # named properly where it is needed
        importlib.import_module("edgeveil.agent.rounds.session")


def _answer_rounds(device: Device, stop: threading.Event, conditions: Conditions) -> None:
    from edgeveil.agent.flower_link import client_app  # noqa: PLC0415 - flwr: a second to import
    from edgeveil.agent.flower_link.link import FlowerLink  # noqa: PLC0415
    from edgeveil.agent.flower_link.retry import SessionOver  # noqa: PLC0415

    session = WarmSession(device, stop)
    try:
        while not stop.is_set():
            link = FlowerLink(
                url=device.pinned.url,
                ca_pem=device.pinned.ca_pem,
                node_key=device.home.node_key(),
                signer=device.signer,
                session=device.home.next_session(),
                app=client_app.build(session.handle),
                on_status=device.on_status,
                accepted=session.accepted,
                online=session.begin,
                condition=conditions.told,
            )
            try:
                link.run(stop)
            except SessionOver:
                device.on_status("the clocks went back; connecting anew")
                stop.wait(RENEW_S)
    finally:
        session.close()
    if session.failure is not None:
        raise session.failure


def _stop_on_signals() -> threading.Event:
    """Set on the first SIGINT or SIGTERM; a second one ends the process at once."""
    stop = threading.Event()

    def request_stop(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGTERM, request_stop)
    return stop
