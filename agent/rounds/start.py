"""What a device settles before it joins or connects: its policy, what its records are, whether they will do."""

import logging
from collections.abc import Callable
from pathlib import Path

from edgeveil.agent.home.config import AgentConfig
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import Declared, record_policy
from edgeveil.agent.home.records.usable import LastLook, doubts
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.tasks.backbone.photos import suited

Status = Callable[[str], None]
Agree = Callable[[str], None]  # asks the owner; raises whatever ends the command after a no

log = logging.getLogger("edgeveil.agent")


def accept(_question: str) -> None:
    """Where nobody can be asked: what the folder shows is taken, told and logged."""


def install_policy(home: AgentHome, given: Path | None) -> Policy:
    """The owner's policy.toml; made from `given` or the defaults when there is none yet."""
    if given is not None:
        policy = Policy.load(given)
        write_atomic(home.policy_path, policy.to_toml().encode())
    elif not home.policy_path.exists():
        write_atomic(home.policy_path, Policy.default().to_toml().encode())
    return Policy.load(home.policy_path)


def declare_data(
    home: AgentHome, policy: Policy, data: Path, on_status: Status, agree: Agree = accept
) -> tuple[Policy, DataShelf]:
    """All records, read once, and the policy with what they are; where it did not say so, as the folder is now.

    What is declared once never follows the folder.

    Raises:
        DataError: nothing that a task could read, or more than memory holds.
    """

    def tell(sentence: str) -> None:
        log.info("%s", sentence)
        on_status(sentence)

    declared = policy.data or record_policy(suited(data))
    shelf = DataShelf(data, tell, declared.as_schema())
    shelf.fill()
    if policy.data is not None:
        return policy, shelf
    for doubt in doubts(shelf.summary()):
        log.warning("%s", doubt)
        on_status(f"warning: {doubt}")
    agree(f"Are these {shelf.summary().declared} right?")
    made = policy.model_copy(update={"data": declared})
    write_atomic(home.policy_path, made.to_toml().encode())
    tell(
        f"policy.toml: data is fixed as {declared}; to correct it: agent policy set data.labels='[\"NAME\"]' --yes"
    )
    return Policy.load(home.policy_path), shelf


def check_ready(home: AgentHome, config: AgentConfig, shelf: DataShelf, data: Declared) -> None:
    """Raise DataError if too few records are usable; doctor, page and budget show how the look ended."""
    summary, refused = shelf.summary(), ""
    try:
        summary.check(data.usable_min, config.data)
    except DataError as error:
        refused = error.message
        log.error("%s", refused)  # noqa: TRY400 - a sentence for the owner, no fault of ours
        raise
    finally:
        look = LastLook(config.dataset, summary.usable, summary.found, data.usable_min, refused)
        look.note(home.path)
