"""Fetching published models: once by hand, or for ever in the background while the owner's policy says so.

What goes over the network is the same whatever a model does here, and when it goes too: asking and fetching are one
thread, judging another, neither waits for the other, and the question after a fetch is asked at a fixed point.
A fetch that was interrupted goes on where it stopped.
"""

import hashlib
import queue
import secrets
import shutil
import threading
import time
from pathlib import Path

from edgeveil.agent.delivery.client import ModelClient
from edgeveil.agent.delivery.confirmed import in_force
from edgeveil.agent.delivery.kept import Kept, KeptModels, held
from edgeveil.agent.delivery.receiving import Say, receive
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.shared.base.errors import (
    EdgeveilError,
    EnrollmentError,
    ModelError,
    ModelUntrusted,
    ProtocolError,
    StorageFailed,
)
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.models import graph
from edgeveil.shared.models.offer import SLICE, Offer
from edgeveil.shared.models.package import Package, check_signer, parse_package

MARGIN = 1 << 20  # bytes of the disk that stay free
OFF_S = 5.0  # between looks at a policy that says no
EMPTY_S = 0.2  # between questions that are answered with nothing at once
FETCHED_S = 2.0  # from the end of a fetch to the next question, whatever the model is judged to be meanwhile
FIRST_S, MOST_S = 1.0, 60.0  # after what may pass


def signer_here(home: Path, trust: bytes | None) -> bytes:
    """Whose models this device takes: the key of --trust, or that of the coordinator it is a member of.

    Raises EnrollmentError: never joined, no member (any more), or the owner's policy takes other coordinators.
    """
    if trust is not None:
        return trust
    device = AgentHome(home)
    pinned = device.pinned()
    _check_member(device, pinned)
    if not in_force(home).takes(pinned.coordinator_public.hex()):
        raise EnrollmentError(f"{home / 'policy.toml'}: coordinators does not name {pinned.url}, which this device has joined")  # fmt: skip
    return pinned.coordinator_public


def fetch(client: ModelClient, home: Path, offer: Offer, signer: bytes) -> Kept | None:
    """Take an offer: fetched, checked and kept, not in use yet. None if it was fetched before.

    Raises:
        ModelUntrusted: the offer or the package is signed by somebody else.
        ModelError: what came is no package, or not the one that was offered; it is not asked for again.
        StorageFailed: the disk has no room for it.
        TransportError, EnrollmentError: as ModelClient's.
    """
    models = KeptModels(home)
    private_directory(models.folder)
    with held(models.folder / "fetching"):
        if offer.serial <= models.index().fetched:
            return None
        try:
            offer.check(signer)
        except ProtocolError as error:
            raise ModelUntrusted(f"model {offer.serial} is not offered by {signer.hex()}: {error.message}") from error  # fmt: skip
        try:
            data = _downloaded(client, models.folder, offer)
            package = _checked(data, offer, signer)
        except ModelError:
            models.note_fetched(offer.serial)
            raise
        return models.add(package, data, vouched=True, serial=offer.serial)


def _downloaded(client: ModelClient, folder: Path, offer: Offer) -> bytes:
    """The file of the offer, by its hash; what an earlier try left is gone on with, parts of others are removed."""
    path = folder / f"incoming-{offer.file}.part"
    for other in folder.glob("incoming-*.part"):
        if other != path:
            other.unlink(missing_ok=True)
    try:
        for resumed in (path.exists(), False):
            _append(client, path, offer)
            data = path.read_bytes()
            path.unlink()
            if hashlib.sha256(data).hexdigest() == offer.file:
                return data
            if not resumed:  # else a power cut may have left other bytes than were written
                break
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error.strerror}); the model in use stays") from error  # fmt: skip
    raise ModelError(f"model {offer.serial}: not the file that was offered; it is not used")


def _append(client: ModelClient, path: Path, offer: Offer) -> None:
    with path.open("ab") as file:
        at = min(file.tell(), offer.size) // SLICE * SLICE
        file.truncate(at)
        _check_room(path.parent, 2 * offer.size - at)
        while at < offer.size:
            part = client.part(offer.serial, at)
            file.write(part)
            at += SLICE


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise StorageFailed(
            f"{folder}: {free:,} bytes are free, a new model needs {needed + MARGIN:,}; the model in use stays"
        )


def _checked(data: bytes, offer: Offer, signer: bytes) -> Package:
    """Form, hashes, signature, graph; raises ModelError."""
    try:
        package = parse_package(data)
        if package.digest != offer.model:
            raise ValueError("it holds another model than was offered")
        check_signer(package, signer, "whom this device trusts")
        if package.manifest.derived is not None:
            raise ValueError("it says that a device made it of another; such variants never travel")
        graph.check(package.model, graph.Wanted.of(package.manifest))
    except ValueError as error:
        raise ModelError(f"model {offer.serial}: this package cannot be used: {error}") from error
    return package


def _check_member(device: AgentHome, pinned: Pinned) -> None:
    """By the newest signed roster that this device has seen."""
    signed = device.roster()
    held_out = signed is not None and pinned.agent_id not in signed.roster.members
    if pinned.state != "member" or held_out:
        raise EnrollmentError(f"{device.path}: this device is not on the roster of {pinned.url}")


class Fetcher:
    """Keeps a home's models up to date beside whatever uses them. start(), then stop().

    Several processes may have one each: an offer is fetched once.
    """

    def __init__(self, home: Path, say: Say) -> None:
        self._home, self._say_it = home, say
        self._said = ""
        self._halt = threading.Event()
        self._client: ModelClient | None = None
        self._arrived: queue.SimpleQueue[Kept | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._ask, name="models", daemon=True),
            threading.Thread(target=self._judge, name="judging", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._halt.set()
        self._arrived.put(None)
        if self._client is not None:
            self._client.close()

    def _ask(self) -> None:
        wait_s = FIRST_S
        while not self._halt.is_set():
            began = time.monotonic()
            try:
                pause_s = self._once()
                wait_s = FIRST_S
            except EnrollmentError as error:
                self._say(f"no models are fetched any more: {error.message}")
                return
            except (EdgeveilError, OSError) as error:
                self._say(f"{error}; trying again")
                pause_s, wait_s = wait_s, min(2 * wait_s, MOST_S)
            jitter = 0.8 + 0.4 * secrets.randbelow(1000) / 1000
            self._halt.wait(max(0.0, pause_s * jitter - (time.monotonic() - began)))

    def _once(self) -> float:
        """One question and what follows; seconds from its beginning to the next one."""
        if not in_force(self._home).fetches:
            return OFF_S
        began = time.monotonic()
        if self._client is None:
            self._client = ModelClient(self._home)
            self._resume()
        index = KeptModels(self._home).index()
        used = index.find(index.in_use) if in_force(self._home).tells_model else None
        told = None if used is None else used.published
        offer = self._client.ask(index.fetched, wait=True, in_use=told)
        if offer is not None and not self._halt.is_set():  # a held answer may come after stop()
            kept = fetch(self._client, self._home, offer, signer_here(self._home, None))
            if kept is not None:
                self._arrived.put(kept)
                return time.monotonic() - began + FETCHED_S
        return EMPTY_S

    def _resume(self) -> None:
        """What was fetched before this process began and not judged."""
        waiting = [each for each in KeptModels(self._home).index().models if each.serial and not each.judged]  # fmt: skip
        if waiting:
            self._arrived.put(waiting[-1])

    def _judge(self) -> None:
        while (kept := self._arrived.get()) is not None:
            if self._arrived.empty():  # else a newer one has come meanwhile
                self._say_it(self._judged(kept))

    def _judged(self, kept: Kept) -> str:
        """The sentence for the owner; whatever goes wrong, the model in use stays."""
        name = f"model {kept.model[:12]} (round {kept.round} of {kept.run})"
        try:
            note = receive(self._home, kept)
        except ModuleNotFoundError as error:
            return (
                f"{name} is here but cannot be used without {error.name}: install edgeveil[infer]"
            )
        except Exception as error:  # noqa: BLE001 - a package or a record may be anything, and a next model comes
            return f"{name} could not be checked ({error}); the model in use stays"
        return f"{name} is in use now" if not note else f"{name} is not used: {note}"

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._say_it(sentence)
