"""The page of state diagrams, docs/states.md, read off the code that runs.

    python scripts/state_diagrams.py            # writes the page
    python scripts/state_diagrams.py --check    # ends with 1 if the page is not what the code says

Nothing of it is listed by hand: stages and their order come from NEXT_STAGE and the return types of
the server's stages, the agent's states from the classes of its session and what their handlers return,
the phases of a reservation from the table by which a ledger is replayed, and who writes what on a
device from the calls in agent/rounds. Where that structure is no longer found the script fails.
"""

import argparse
import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

from edgeveil.coordinator.machine import attempt
from edgeveil.shared.privacy.ledger import replay
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.ledger.replay import CHANGES
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.secagg.client import session
from edgeveil.shared.secagg.server import stages
from edgeveil.shared.wire.messages import Stage

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "states.md"
ROUNDS = ROOT / "agent" / "rounds"
Edge = tuple[str, str, str]  # from, to, why


def tree(thing: Callable[..., object] | type) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def methods(kind: type) -> dict[str, ast.FunctionDef]:
    (body,) = tree(kind).body
    return {node.name: node for node in body.body if isinstance(node, ast.FunctionDef)}


def calls(node: ast.AST) -> list[ast.Call]:
    """Every call in a piece of code, in the order of the text."""
    found = [child for child in ast.walk(node) if isinstance(child, ast.Call)]
    return sorted(
        found, key=lambda call: (call.func.end_lineno or 0, call.func.end_col_offset or 0)
    )


def diagram(edges: list[Edge]) -> str:
    lines = [f"    {start} --> {end}" + (f" : {why}" if why else "") for start, end, why in edges]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|")
        for line in lines
    )


def section(title: str, *parts: str) -> str:
    """A heading, a paragraph, then tables and diagrams."""
    text, *rest = parts
    return "\n\n".join([f"## {title}", textwrap.fill(text, 110), *rest])


def effects() -> dict[str, list[str]]:
    """What each event of the round machine may lead to: the actions its methods reach."""
    code = methods(attempt.RoundMachine)
    actions = [action.__name__ for action in get_args(attempt.Action)]

    def reached(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        found = set()
        for call in calls(code[name]):
            if isinstance(call.func, ast.Name) and call.func.id in actions:
                found.add(call.func.id)
            elif isinstance(call.func, ast.Attribute) and call.func.attr in code.keys() - seen:
                found |= reached(call.func.attr, seen | {name})
        return found

    public = [name for name, node in code.items() if name[0] != "_" and reached(name)]
    return {name: [action for action in actions if action in reached(name)] for name in public}


def stage_classes() -> Iterator[tuple[Stage, str]]:
    """Each stage with the class that collects its answers, by what close() returns."""
    (first,) = [field.default for field in fields(attempt.RoundMachine) if field.name == "stage"]
    stage, kind = first, stages.CollectAdverts
    while True:
        yield stage, kind.__name__
        following = inspect.get_annotations(kind.close)["return"]
        following = getattr(following, "__name__", following)
        if stage not in attempt.NEXT_STAGE:
            if following != "Result":
                raise SystemExit(
                    f"{kind.__name__} closes to {following}, and {stage.name} is the last"
                )
            return
        stage, kind = attempt.NEXT_STAGE[stage], getattr(stages, following)


def round_machine() -> str:
    happens = effects()
    order = [stage for stage, _ in stage_classes()]
    closing = [event for event, actions in happens.items() if "Abort" in actions]
    edges: list[Edge] = [("[*]", order[0].name, "start()")]
    for stage in order:
        following = attempt.NEXT_STAGE.get(stage)
        edges.append(
            (stage.name, following.name if following else "Finish", "closed, quorum stands")
        )
    edges += [(stage.name, "Abort", "") for stage in order]
    edges += [("Finish", "[*]", ""), ("Abort", "[*]", "")]
    rows = [(f"`{event}()`", ", ".join(actions)) for event, actions in happens.items()]
    classes = [(stage.name, f"`{stage.value}`", f"`{kind}`") for stage, kind in stage_classes()]
    text = (
        "`RoundMachine` in coordinator/machine/attempt.py, one for each attempt or shard. Whatever may "
        f"close a stage ({', '.join(closing)}) may also abort the attempt."
    )
    return section(
        "The round machine",
        text,
        diagram(edges),
        table(("stage", "message", "collects"), classes),
        table(("event", "may lead to"), rows),
    )


def client_edges() -> Iterator[Edge]:
    """The states of a ClientSession: each handler names the next one in its return type."""
    kinds = {kind.__name__: kind for kind in get_args(session.State)}
    for kind in kinds.values():
        for name, node in methods(kind).items():
            returned = {part.strip("'\"[](), ") for part in ast.unparse(node.returns).split(",")}
            for following in kinds.keys() & returned:
                yield kind.name, kinds[following].name, f"{name}()"


def client_session() -> str:
    edges = list(client_edges())
    if len(edges) != len(Stage):
        raise SystemExit(f"{len(edges)} handlers of the client's states, {len(Stage)} stages")
    named = [
        (a, b, f"{stage.name}, {why}") for (a, b, why), stage in zip(edges, Stage, strict=True)
    ]
    code = ast.walk(tree(session.ClientSession.state.fget))
    (erased,) = {node.value for node in code if isinstance(node, ast.Constant)} - {None}
    lost = [(start, erased, "") for start, _, _ in edges]
    text = (
        "`ClientSession` in shared/secagg/client, one for each attempt, made after training. A check "
        "that fails, or a new offer, erases it from any state."
    )
    edges = [("[*]", edges[0][0], ""), *named, *lost, (edges[-1][1], "[*]", "")]
    return section("The agent's session", text, diagram(edges))


def ledger_edges() -> Iterator[Edge]:
    """What each kind of record asks of the newest reservation and makes of it."""
    for kind, change in CHANGES.items():
        asked, made = [], []
        for node in nodes_of(change):
            if isinstance(node, ast.Compare):
                asked += phases(node)
            elif isinstance(node, ast.Call):
                made += [name for part in (*node.args, *(k.value for k in node.keywords)) for name in phases(part, deep=False)]  # fmt: skip
        if made:
            (end,) = set(made)
            yield (asked[0] if asked else "[*]"), end, f"{kind.value}"


def nodes_of(change: Callable[..., object]) -> Iterator[ast.AST]:
    """Of a function of the replay and of its own helpers that it calls."""
    for node in ast.walk(tree(change)):
        yield node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("_"):  # fmt: skip
            yield from nodes_of(getattr(replay, node.func.id))


def phases(node: ast.AST, *, deep: bool = True) -> list[str]:
    nodes = ast.walk(node) if deep else [node]
    return [n.attr for n in nodes if isinstance(n, ast.Attribute) and n.attr in Phase.__members__]


def forgetting() -> list[str]:
    """The kinds of record after which no reservation is the newest."""
    return [
        kind.value
        for kind, change in CHANGES.items()
        for call in calls(tree(change))
        for word in call.keywords
        if word.arg == "current" and ast.unparse(word.value) == "None"
    ]


def reservation() -> str:
    edges = list(ledger_edges())
    if {end for _, end, _ in edges} != set(Phase.__members__):
        raise SystemExit(f"the ledger's records lead to {edges}, its phases are {list(Phase)}")
    text = (
        "`Phase` in shared/privacy/ledger/state.py, of the newest reservation; an edge is a record on "
        "the disk. The next reservation may come in every phase; a record of "
        f"{', '.join(forgetting())} forgets it. Nothing is refunded."
    )
    edges.append((edges[-1][1], "[*]", ""))
    return section("A reservation in the ledger", text, diagram(edges))


def on_a_device() -> str:
    """Which function of agent/rounds moves the session and writes the ledger, in the order of its text."""
    # A record of kind "shared" is what `reserve` writes where noise is in shares.
    verbs = {"ledger": [why for _, _, why in ledger_edges() if why != Kind.SHARED.value],
             "secagg": [why.removesuffix("()") for _, _, why in client_edges()]}  # fmt: skip
    rows, found = [], set()
    for path in sorted(ROUNDS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            moves = [
                f"{whose} {call.func.attr}"
                for call in calls(node)
                if isinstance(call.func, ast.Attribute)
                for whose, names in verbs.items()
                if call.func.attr in names and whose in ast.unparse(call.func.value)
            ]
            found |= set(moves)
            if moves:
                rows.append((f"`{path.name}`", f"`{node.name}`", ", ".join(moves)))
    if missing := {f"{whose} {name}" for whose, names in verbs.items() for name in names} - found:
        raise SystemExit(f"nothing in agent/rounds does: {', '.join(sorted(missing))}")
    text = (
        "Which functions of agent/rounds move the session (secagg) and write the ledger, in the order "
        "of their text."
    )
    return section("Both on a device", text, table(("module", "function", "does"), rows))


def page() -> str:
    head = "# States\n\nRead off the code by `scripts/state_diagrams.py`; do not edit this page."
    parts = [head, round_machine(), client_session(), reservation(), on_a_device()]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        print(
            f"{PAGE.name} is not what the code says: python scripts/state_diagrams.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
