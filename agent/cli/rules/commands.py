"""`agent rules`: what follows from answers, looked at before anything follows."""

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from edgeveil.agent.cli.model_commands import TrustOption
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.agent.inference.runtime import Model
    from edgeveil.agent.rules.rule_file import Owned
    from edgeveil.agent.rules.ruling import Alarm

rules_app = typer.Typer(
    help="What follows from answers by the owner's rules.toml: alarms, switches, orders.",
    no_args_is_help=True,
)
ROLE = "agent"
RulesOption = Annotated[
    Path | None,
    Option("--rules", metavar="FILE", help="The owner's rules [default: rules.toml of the home]."),
]
ModelOption = Annotated[
    Path | None,
    Option("--model", metavar="FILE", help="A model package [default: the model in use here]."),
]


@rules_app.command()
def check(
    home: console.HomeOption = None,
    rules: RulesOption = None,
    model: ModelOption = None,
    trust: TrustOption = None,
    tried: Annotated[
        list[str] | None,
        Option("--try", metavar="INPUT", help="Say what would follow from this; may be repeated."),
    ] = None,
    count: Annotated[
        Path | None,
        Option("--count", metavar="LINE.toml", help="Try one video as it would be counted."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Read rules.toml, whether it fits the model, and what would follow from inputs. Nothing is sent or run.

    Ends with 2 where a rule is wrong or could never follow, with 65 where others may read the file or a token that it
    names is not there or an input of --try cannot be read, with 69 where the extra mqtt is missing.

    Example: agent rules check --try fall.jpg --try street.jpg
    """
    from edgeveil.agent.cli.rules.fitting import check_model, doubts
    from edgeveil.agent.forwarding.consequences import deliveries
    from edgeveil.agent.rules.rule_file import NAME, owners_rules
    from edgeveil.shared.base.errors import ConfigError

    folder = console.home_of(ROLE, home)
    owned = owners_rules(folder, rules)
    if owned is None:
        raise ConfigError(f"{folder / NAME}: this file does not exist; docs/rules.md has samples")
    if count is not None and len(tried or ()) != 1:
        raise ConfigError("--count: name one video with --try")
    deliveries(owned)
    opened = _opened(folder, model, trust, needed=bool(tried))
    noticed = _doubts(owned)
    if opened is not None:
        check_model(owned, opened, counted=count is not None)
        noticed += doubts(owned, opened, counted=count is not None)
    found = []
    if opened is not None and tried:
        found = _counted(owned, opened, tried[0], count) if count else _tried(owned, opened, tried)
    if as_json:
        console.print_json({"file": str(owned.path), **_as_json(owned), "tried": found})
    else:
        _show(owned, opened is not None)
        for each in found:
            _tell(each)
    for notice in noticed:
        console.warn(notice)
    if any("left_out" in each for each in found):
        raise typer.Exit(ExitCode.DAMAGED)


def _doubts(owned: "Owned") -> list[str]:
    """Programs that cannot be run as things are; one may still be installed."""
    from edgeveil.agent.rules.actions import CommandAction

    return [
        f"rule {rule.name!r}: {rule.action.run[0]} is no program that can be run here"
        for rule in owned.rules
        if isinstance(rule.action, CommandAction) and shutil.which(rule.action.run[0]) is None
    ]


@rules_app.command()
def status(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """What waits to be delivered, and what became of what waited before.

    Example: agent rules status
    """
    from edgeveil.agent.forwarding.outbox import standing

    found = standing(console.home_of(ROLE, home))
    if as_json:
        console.print_json(found)
        return
    if not found:
        console.stderr.print("nothing was ever to be delivered from here")
        return
    kinds = ("waiting", "sent", "dropped", "expired", "refused", "given up")
    made = console.table("Deliveries", "of", *(f">{kind}" for kind in kinds))
    for lane, counts in sorted(found.items()):
        made.add_row(lane, *(f"{counts.get(kind, 0):,}" for kind in kinds))
    console.stdout.print(made)


def _opened(folder: Path, model: Path | None, trust: str | None, *, needed: bool) -> "Model | None":
    """The model named, or the one in use; None where there is none and none is needed."""
    from edgeveil.shared.base.errors import ConfigError
    from edgeveil.shared.terminal.telling import say

    if model is not None:
        from edgeveil.agent.inference.runtime import open_model

        found = open_model(model, trust=trust, home=folder)
        if found.notice:
            console.warn(f"{model}: {found.notice}")
        return found
    from edgeveil.agent.delivery.kept import KeptModels

    if not needed and not KeptModels(folder).index_path.exists():
        return None
    from edgeveil.agent.delivery.receiving import open_in_use

    try:
        return open_in_use(folder, trust=trust, threads=0, say=say)
    except ConfigError:
        if needed:
            raise
        return None


def _tried(owned: "Owned", model: "Model", inputs: list[str]) -> list[dict[str, Any]]:
    """Each answer in turn, as if all came at once."""
    from edgeveil.agent.inference.boxes import SHOWN
    from edgeveil.agent.inference.inputs import find
    from edgeveil.agent.inference.predicting import predictions
    from edgeveil.agent.rules.ruling import Ruling

    ruling, least = Ruling(owned.rules), 0.0 if model.finder is None else SHOWN
    paths = find(inputs, model.input).paths
    found: list[dict[str, Any]] = []
    for name, said, why in predictions(model, paths, sys.stdin.buffer):
        if said is None:
            found.append({"input": name, "left_out": why})
            continue
        alarms = ruling.answer(said.as_json(least), model.digest, now=0.0, at=time.time())
        found.append({"input": name, "follows": [_alarm(each) for each in alarms]})
    return found


def _counted(owned: "Owned", model: "Model", name: str, count: Path) -> list[dict[str, Any]]:
    """Each event of a video."""
    from edgeveil.agent.inference.boxes import SHOWN
    from edgeveil.agent.inference.predicting import frame_finder
    from edgeveil.agent.inference.video.line_file import LineFile
    from edgeveil.agent.inference.video.tracking import Settings
    from edgeveil.agent.inference.video.watching import Wanted, Watch
    from edgeveil.agent.rules.facts import EventFacts
    from edgeveil.agent.rules.ruling import Ruling
    from edgeveil.shared.base.config import load

    wanted = Wanted(lines=load(count, LineFile), tracking=Settings(least_score=SHOWN))
    watched, facts, ruling = Watch(name, frame_finder(model), wanted), EventFacts(), Ruling(owned.rules)  # fmt: skip
    found = []
    for seen in watched:
        for event in seen.events:
            fact = facts.of(event.kind, event.at_s, event.label, event.line, event.way)
            alarms = ruling.event(fact, model.digest, now=event.at_s, at=time.time())
            found.append({
                "input": f"{name} at {event.at_s:.2f} s", "event": event.kind,
                "follows": [_alarm(each) for each in alarms],
            })  # fmt: skip
    if watched.problem:
        found.append({"input": name, "left_out": watched.problem})
    return found


def _alarm(alarm: "Alarm") -> dict[str, Any]:
    """As it would be told, less what is made when it is."""
    return {name: value for name, value in alarm.as_json().items() if name not in {"id", "time", "model"}}  # fmt: skip


def _as_json(owned: "Owned") -> dict[str, Any]:
    rules = [rule.model_dump(mode="json", by_alias=True, exclude_none=True) for rule in owned.rules]
    forward = None if owned.forward is None else owned.forward.model_dump(mode="json")
    return {"rules": rules, "forward": forward}


def _show(owned: "Owned", fitted: bool) -> None:
    if owned.rules:
        made = console.table("Rules", "rule", "when", "for", ">pause", "what follows")
        for rule in owned.rules:
            pause = f"{rule.cooldown_s:g} s" if rule.cooldown_s else "–"
            made.add_row(rule.name, rule.when, rule.for_, pause, rule.action.said)
        console.stdout.print(made)
    told = "no result is forwarded"
    if owned.forward is not None:
        told = f"each result goes to {owned.forward.url}, which no ε covers"
    many = "1 rule" if len(owned.rules) == 1 else f"{len(owned.rules)} rules"
    console.stdout.print(f"{owned.path}: {many}, {told}")
    if not fitted:
        console.stderr.print("no model is in use: whether the rules fit one was not checked")


def _tell(found: dict[str, Any]) -> None:
    if "left_out" in found:
        console.stderr.print(f"left out: {found['input']}: {found['left_out']}")
        return
    rules = ", ".join(each["rule"] for each in found["follows"]) or "nothing"
    console.stdout.print(f"{found['input']}: {rules}")
