"""A model for a process that runs for long: the file that was named, or whatever is in use in the home."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeveil.agent.delivery.confirmed import in_force
from edgeveil.agent.delivery.fetching import Fetcher
from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.delivery.receiving import Say, open_in_use
from edgeveil.agent.inference.runtime import Model, open_model
from edgeveil.agent.inference.serving.slot import Slot
from edgeveil.shared.base.errors import ModelUntrusted


@contextlib.contextmanager
def followed(
    home: Path, file: Path | None, *, trust: str | None, threads: int, say: Say
) -> Iterator[Slot]:
    """Its slot; while the home's model is followed, newer ones are fetched if the owner's policy says so.

    Raises:
        ConfigError: no file is named and no model is in use.
        ModelError: it cannot be used.
        ModelUntrusted: neither --trust nor the coordinator that this device has joined vouches for its signer.
    """

    def named(path: Path) -> Model:
        found = open_model(path, trust=trust, home=home, threads=threads)
        if found.notice:
            raise ModelUntrusted(f"{path}: {found.notice}")
        return found

    if file is not None:
        slot = Slot(file, named, say)
        try:
            yield slot
        finally:
            slot.close()
        return

    def current(_index: Path) -> Model:
        return open_in_use(home, trust=trust, threads=threads, say=say)

    fetcher = Fetcher(home, say) if in_force(home).fetches else None
    slot = Slot(KeptModels(home).index_path, current, say)
    try:
        if fetcher is not None:
            fetcher.start()
        yield slot
    finally:
        slot.close()
        if fetcher is not None:
            fetcher.stop()
