"""Whether an owner's rules fit what a model answers, seen before the first record."""

from typing import TYPE_CHECKING

from edgeveil.agent.rules.facts import OF_EVENTS, names_of
from edgeveil.agent.rules.rule_file import Owned
from edgeveil.agent.rules.ruling import check_fits

if TYPE_CHECKING:
    from edgeveil.agent.inference.runtime import Model


def check_model(owned: Owned, model: "Model", *, counted: bool = False) -> None:
    """Raise ConfigError for a rule that could never follow; `counted`: of the events of a video, not of answers.

    Which facts there are is seen in what the model says of records that everybody makes alike.
    """
    from edgeveil.shared.models import known_answer

    labels = tuple(getattr(model.manifest.output, "labels", ()))
    if counted:
        names = frozenset(OF_EVENTS)
    else:
        said = model.said(known_answer.records(model.input)[:1])[0]
        names = names_of(said.as_json())
    check_fits(owned.rules, names, labels, str(owned.path))
