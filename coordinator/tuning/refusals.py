"""Data that no study may read: what an agent holds, or trains on.

The roles never import each other, so a home is known by its files. Looked for above the data, beside each
folder above them, beside the coordinator's home, inside the data, and where an agent lives by default; of
agent.toml the one key that names its data is read. A file that cannot be read refuses as well.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_state_path

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.config import read_toml
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import overlap

CONFIG = "agent.toml"
MARKS = (CONFIG, "policy.toml", "pinned.json", "join.token", "ledger/ledger.lock")
MOST_LOOKED = (
    20_000  # folders inside the data; more are refused, since what is not looked at is not known
)


def check_data(data: Path, home: Path) -> None:
    """Raise ConfigError where `data` lies in an agent's home, holds one, or is what an agent trains on."""
    data = data.resolve()
    for folder in (data, *data.parents):
        if _is_home(folder):
            raise ConfigError(f"--data {data}: {folder} is the home of an agent; {_ADVICE}")
    for folder in _inside(data):
        if _is_home(folder):
            raise ConfigError(f"--data {data}: holds {folder}, the home of an agent; {_ADVICE}")
    for folder in dict.fromkeys(_near(data, home.resolve())):
        if (named := _named_by(folder, data)) and overlap(named, data):
            raise ConfigError(f"--data {data}: {folder / CONFIG} names {named}; {_ADVICE}")


_ADVICE = "what devices hold is never tuned on: name public or simulated data"


def check_apart(data: Path, plan: Plan) -> None:
    """Raise ConfigError where the data are those by which the plan's model will be judged."""
    test = plan.evaluation.data
    if test is not None and overlap(test.resolve(), data.resolve()):
        raise ConfigError(
            f"--data {data}: evaluation.data of the plan is {test}, and settings chosen on it would make its figures "
            "look too good; name other data"
        )


def check_plan(plan: Plan) -> None:
    """Raise ConfigError for a plan that needs devices to be evaluated, or that trials do not carry out."""
    why = ""
    if plan.evaluation.on_devices:
        why = 'evaluation.on = "devices": a study never asks a device; tune with on = "coordinator"'
    elif not plan.training.noised:
        why = 'training.privacy = "none": trials are trained with noise; there is no budget to save'
    elif plan.server.strategy == "scaffold":
        why = 'server.strategy = "scaffold" is not simulated; choose another'
    elif plan.server.robust != "none":
        why = f'server.robust = "{plan.server.robust}": sums of shards are not simulated; tune without'
    elif plan.model.of_run is not None:
        why = f"model.initial {plan.model.initial} is a run; export it and name the file"
    if why:
        raise ConfigError(f"plan: {why}")


def _is_home(folder: Path) -> bool:
    return any(_there(folder / mark) for mark in MARKS)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # of a folder that this user may not enter, nothing can be read either


def _inside(data: Path) -> Iterator[Path]:
    if not data.is_dir():
        return
    for count, (folder, _, _) in enumerate(os.walk(data)):
        if count > MOST_LOOKED:
            raise ConfigError(
                f"--data {data}: holds over {MOST_LOOKED} folders; name a smaller one"
            )
        yield Path(folder)


def _near(data: Path, home: Path) -> Iterator[Path]:
    """Folders in which an agent may live that this machine's users could have named the data to."""
    yield user_state_path("edgeveil") / "agent"
    for parent in (home, *home.parents[:2], *data.parents):
        yield parent
        try:
            yield from (each for each in parent.iterdir() if each.is_dir())
        except OSError:
            continue


def _named_by(folder: Path, data: Path) -> Path | None:
    """The data of the agent that lives there, None where none does."""
    path = folder / CONFIG
    if not _there(path):
        return None
    try:
        named = read_toml(path).get("data")
    except ConfigError as error:
        raise ConfigError(
            f"--data {data}: an agent lives in {folder}, and which data it holds cannot be told ({error.message})"
        ) from error
    return Path(named).resolve() if isinstance(named, str) else None
