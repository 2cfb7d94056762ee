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
from edgeveil.agent.home.data import DataShelf, InUse, check_folder
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.log import FILE, log_to
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.watching import Watcher
from edgeveil.agent.joining.enrollment import JoinState, join, wait_until_member
from edgeveil.agent.ledger.fingerprint import check_dataset
from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.agent.reports.page_view import JOURNAL
from edgeveil.agent.rounds.condition import Conditions
from edgeveil.agent.rounds.device import Device, torch_trainer
from edgeveil.agent.rounds.embedding import completion
from edgeveil.agent.rounds.start import (
    Agree,
    Status,
    accept,
    check_ready,
    declare_data,
    install_policy,
)
from edgeveil.agent.rounds.warm_up import WarmSession
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import as_text
from edgeveil.shared.data.probe import raw_records
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.tasks.own.shelf import use
from edgeveil.shared.terminal.argv import hide_argument
from edgeveil.shared.terminal.progress import progress
from edgeveil.shared.wire.tokens import Token

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


def join_device(
    path: Path,
    token: Token,
    *,
    data: Path | None,
    policy: Path | None,
    dataset: str | None,
    on_status: Status = lambda _sentence: None,
    agree: Agree = accept,
) -> JoinState:
    """Check everything local first, then join; nothing is sent before the device is ready.

    `agree` asks the owner whether what is declared of the records is right, and raises after a no.
    """
    _check_given(data, policy)
    home = AgentHome(path)
    with home.lock():
        log_to(path / FILE, SystemClock())
        own_policy = install_policy(home, policy)
        if data is not None:
            config = settle(path, data, dataset)
            _ready(home, own_policy, config, on_status, agree)
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
    agree: Agree = accept,
) -> None:
    """Answer rounds until SIGINT or SIGTERM; `agree` as in join_device().

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
        log_to(path / FILE, SystemClock())
        use(path)
        own_policy, config, shelf = _settle(
            home,
            token,
            data=data,
            policy=policy,
            dataset=dataset,
            on_status=on_status,
            agree=agree,
        )
        _become_member(home, stop, on_status)
        if not stop.is_set():
            if config.compute.device != "cpu":
                torch_trainer(config.compute)  # says at once what is not there
            metrics = OwnMetrics()
            conditions = Conditions(own_policy.when, paused=lambda: home.paused)
            watch = partial(progress, quiet=quiet)
            shelf.complete(completion(home, own_policy, config.compute, on_status, watch))
            look = partial(_owners_view, path, config.dataset, page, on_status)
            with look(metrics=metrics, in_use=shelf.in_use) as journal:
                device = Device(
                    home=home,
                    pinned=home.pinned(),
                    signer=home.identity(),
                    policy=own_policy,
                    dataset_id=config.dataset,
                    shelf=shelf,
                    clock=SystemClock(),
                    on_status=on_status,
                    accept_looser=accept_policy,
                    may_train=conditions.check,
                    journal=journal,
                    fsynced=metrics.took,
                    trainer=partial(torch_trainer, config.compute),
                    progress=watch,
                )
                with _models(path, own_policy, on_status):
                    _answer_rounds(device, stop, conditions, watch=config.watch)
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
    agree: Agree,
) -> tuple[Policy, AgentConfig, DataShelf]:
    """Policy and data of this device, checked and kept; then it joins, if it has a token.

    The records are read before this device connects, so that no answer's time depends on them.
    """
    if token is None and home.join_token() is None:
        home.pinned()
    own_policy = install_policy(home, policy)
    config = settle(home.path, data, dataset)
    check_folder(config.data)
    check_dataset(home.ledger_folder, config.dataset, raw_records(config.data))
    own_policy, shelf = _ready(home, own_policy, config, on_status, agree)
    if token is not None:
        join(home, token)
    return own_policy, config, shelf


def _ready(
    home: AgentHome, policy: Policy, config: AgentConfig, on_status: Status, agree: Agree
) -> tuple[Policy, DataShelf]:
    """What the records are, declared and kept; raises DataError if too few of them are usable."""
    policy, shelf = declare_data(home, policy, config.data, on_status, agree)
    save(home.path, config)
    if policy.data is not None:
        check_ready(home, config, shelf, policy.data)
    return policy, shelf


def _become_member(home: AgentHome, stop: threading.Event, on_status: Status) -> None:
    """Return once this device is in the roster, or `stop` is set."""
    if home.find_pinned() is None or home.pinned().state != "member":
        threading.Thread(target=_warm_up, daemon=True).start()
    wait_until_member(home, stop, on_status)


@contextlib.contextmanager
def _owners_view(
    path: Path,
    dataset: str,
    page: str | None,
    on_status: Status,
    *,
    metrics: OwnMetrics,
    in_use: Callable[[], InUse | None],
) -> Iterator[EventLog]:
    """The journal of this device and, when `page` names an address, the page that shows it."""
    if page is None:
        with EventLog(path / JOURNAL) as journal:
            yield journal
        return
    from edgeveil.agent.reports.page import owners_page  # noqa: PLC0415 - a web server only when asked for

    shown = owners_page(path, dataset, page, metrics, in_use)
    with EventLog(path / JOURNAL, watch=lambda _: shown.ring()) as journal:
        shown.start()
        on_status(f"page {shown.url}")
        try:
            yield journal
        finally:
            shown.stop()


@contextlib.contextmanager
def _models(path: Path, policy: Policy, on_status: Status) -> Iterator[None]:
    """Fetch what the coordinator publishes meanwhile, where the owner's policy says so."""
    if not policy.model.fetch:
        yield
        return
    from edgeveil.agent.delivery.fetching import Fetcher  # noqa: PLC0415 - Pillow, and only where it is asked for

    fetcher = Fetcher(path, on_status)
    fetcher.start()
    try:
        yield
    finally:
        fetcher.stop()


def _warm_up() -> None:
    """Import what takes seconds while the roster is being waited for."""
    for module in (
        "flower_link.link",
        "flower_link.client_app",
        "rounds.session",
        "training.training",
    ):
        with contextlib.suppress(ImportError):  # named properly where it is needed
            importlib.import_module(f"edgeveil.agent.{module}")


def _answer_rounds(
    device: Device, stop: threading.Event, conditions: Conditions, *, watch: bool
) -> None:
    from edgeveil.agent.flower_link import client_app  # noqa: PLC0415 - flwr: a second to import
    from edgeveil.agent.flower_link.link import FlowerLink  # noqa: PLC0415
    from edgeveil.agent.flower_link.retry import SessionOver  # noqa: PLC0415

    session = WarmSession(device, stop)
    if watch:
        _watch_folder(device, session, stop)
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


def _watch_folder(device: Device, session: WarmSession, stop: threading.Event) -> None:
    """Read what is added to the folder, in the background and by the clock alone."""
    data = device.policy.data
    least = 0.0 if data is None else data.usable_min
    watcher = Watcher(
        device.shelf,
        between=session.answering,
        size=lambda: session.size,
        accept=lambda found: found.check(least, device.shelf.path),
        tell=lambda sentence: device.tell(sentence, kind="data"),
    )
    threading.Thread(target=watcher.run, args=(stop,), name="watch", daemon=True).start()


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
