"""Rules and forwarding beside a command that predicts: set up before its first answer, ended after its last."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeveil.agent.cli.rules.fitting import check_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeveil.agent.forwarding.consequences import Consequences
    from edgeveil.agent.inference.predicting import Answer
    from edgeveil.agent.inference.runtime import Model
    from edgeveil.agent.inference.serving.sharing import Seen
    from edgeveil.agent.inference.video.counting import Event

LAST_S = 10.0  # for what still waits when a video has ended


@contextlib.contextmanager
def following(
    home: Path, rules: Path | None, model: "Model", name: str, *, least: float = 0.0
) -> "Iterator[Seen]":
    """What takes answers, by --rules or the rules.toml of the home; without either it does nothing.

    `least`: boxes that are less sure are not looked at.
    """
    from edgeveil.agent.rules.facts import above

    with _made(home, rules, model, name, counted=False, wait_s=0.0) as made:

        def seen(answers: "Sequence[dict[str, Any]]", digest: str) -> None:
            if made is not None:
                made.answered([above(answer, least) for answer in answers], digest)

        yield seen


@contextlib.contextmanager
def counted(home: Path, rules: Path | None, model: "Model") -> "Iterator[Callable[[Event], None]]":
    """What takes events of a video, by --rules alone: looking at an old video again raises no alarm by itself."""
    from edgeveil.agent.rules.facts import EventFacts

    if rules is None:
        yield lambda _: None
        return
    with _made(home, rules, model, "count", counted=True, wait_s=LAST_S) as made:
        facts = EventFacts()

        def happened(event: "Event") -> None:
            fact = facts.of(event.kind, event.at_s, event.label, event.line, event.way)
            if made is not None:
                made.happened(fact, model.digest, event.at_s)

        yield happened


def passed_on(
    answers: "Iterator[Answer]", threshold: float, model: str, seen: "Seen"
) -> "Iterator[Answer]":
    """The same answers; each is on its way before it is shown."""
    for name, said, why in answers:
        if said is not None:
            seen([said.as_json(threshold)], model)
        yield name, said, why


@contextlib.contextmanager
def _made(
    home: Path, rules: Path | None, model: "Model", name: str, *, counted: bool, wait_s: float
) -> "Iterator[Consequences | None]":
    from edgeveil.agent.rules.rule_file import owners_rules

    owned = owners_rules(home, rules)
    if owned is None:
        yield None
        return
    from edgeveil.agent.forwarding.consequences import Consequences
    from edgeveil.shared.terminal.telling import say

    check_model(owned, model, counted=counted)
    found = Consequences(owned, home, name, say)
    if owned.forward is not None:
        say(f"each result goes to {owned.forward.url}; no ε covers that (docs/rules.md)")
    try:
        yield found
    finally:
        found.close(wait_s)
