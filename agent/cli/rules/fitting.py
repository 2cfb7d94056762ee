"""Whether an owner's rules fit what a model answers, seen before the first record."""

import math
from typing import TYPE_CHECKING

from edgeveil.agent.rules.facts import OF_EVENTS, names_of
from edgeveil.agent.rules.ranges import decided
from edgeveil.agent.rules.rule_file import Owned
from edgeveil.agent.rules.ruling import check_fits

if TYPE_CHECKING:
    from edgeveil.agent.inference.runtime import Model

# By the kind of output; a number may leave the range of its target, and how odd a record is has no end.
RANGES = {
    "logits": {"score": (0.0, 1.0)},
    "boxes": {"score": (0.0, 1.0), "count": (0.0, math.inf)},
    "events": {"count": (1.0, math.inf), "per_minute": (1.0, math.inf)},
}


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


def doubts(owned: Owned, model: "Model", *, counted: bool = False) -> list[str]:
    """Comparisons that are never or always true of what this model, or a counted video, can say."""
    return list(
        decided(owned.rules, RANGES.get("events" if counted else model.manifest.output.kind, {}))
    )
