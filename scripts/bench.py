"""The page of measured figures, docs/benchmarks.md, made from the records in docs/results/*.json.

    python scripts/bench.py            # writes the page
    python scripts/bench.py --check    # ends with 1 if the page is not what the records say

It measures nothing: each record names the command that gives its figure. A new figure replaces the
record of the old one; what was measured before stands in the history of the file. One file per subject:

    {"subject": heading, "order": place on the page, "intro": one sentence, "records": [...]}

figure      what was measured, unique within the file
value       a number, or [least, most]
unit        of value, goal and peer_value; "" for a count
goal        a number or left out; `better` ("lower" or "higher") says on which side of it to be
peer        what stood beside it in the same run, with peer_value, or ratio alone where only that was noted
ratio       peer_value over value: how many times as much the peer takes; worked out where both are known
command     gives the figure, at most 120 characters; null where none was kept
date        YYYY-MM-DD on which it was recorded
load        what else the machine did: a load of so many processes, "idle", "not noted"
remark      what a reader has to know, at most 100 characters; on the page
note        what only a maintainer needs; never on the page
"""

import argparse
import datetime as dt
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results"
PAGE = ROOT / "docs" / "benchmarks.md"
FILE_KEYS = {"subject", "order", "intro", "records"}
NEEDED = {"figure", "value", "unit", "command", "date", "load"}
OPTIONAL = {"goal", "better", "peer", "peer_value", "ratio", "remark", "note"}
SIDES = {"lower": "≤", "higher": "≥"}
LONGEST = {"remark": 100, "command": 120, "intro": 360}  # characters
SAME = 0.02  # by how much a noted ratio may differ from the one of the rounded figures
HEAD = """\
# Benchmarks

Measured figures, each with the command that gives it, from the records in [results](results) by
`scripts/bench.py`; do not edit this page. Where nothing else is said, on two shared x86 cores with AES
instructions, Python 3.11 and torch 2.14.1. *Load* is what else the machine did; *peer* what stood beside it in
the same run, and *ratio* how many times as much the peer took. The last column numbers the commands below a table.
"""

Record = dict[str, Any]


class BadRecord(Exception):
    """The file, the figure, the rule."""


def load(path: Path) -> Record:
    """One subject, checked. Raises BadRecord."""
    try:
        subject = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadRecord(f"{path.name}: {error}") from error
    if not isinstance(subject, dict) or set(subject) != FILE_KEYS:
        raise BadRecord(f"{path.name}: the keys of a file are {', '.join(sorted(FILE_KEYS))}")
    if not isinstance(subject["order"], int) or not isinstance(subject["records"], list):
        raise BadRecord(f"{path.name}: order is a whole number, records a list")
    for key in ("subject", "intro"):
        _text(path.name, subject, key)
    seen: set[str] = set()
    for record in subject["records"]:
        check(path.name, record)
        if record["figure"] in seen:
            raise BadRecord(f"{path.name}: {record['figure']}: there are two of it")
        seen.add(record["figure"])
    return subject


def check(file: str, record: object) -> None:
    """Raise BadRecord unless this is one whole record."""
    if not isinstance(record, dict):
        raise BadRecord(f"{file}: a record is a table, not {record!r}")
    where = f"{file}: {record.get('figure', 'a record without a figure')}"
    if missing := sorted(NEEDED - set(record)):
        raise BadRecord(f"{where}: lacks {', '.join(missing)}")
    if unknown := sorted(set(record) - NEEDED - OPTIONAL):
        raise BadRecord(f"{where}: unknown {', '.join(unknown)}")
    texts = {"figure", "date", "load", "peer", "remark", "note"} & set(record)
    for key in sorted(texts if record["command"] is None else {*texts, "command"}):
        _text(where, record, key)
    if not isinstance(record["unit"], str):
        raise BadRecord(f"{where}: unit is a text")
    for key in sorted({"value", "goal", "peer_value", "ratio"} & set(record)):
        _numbers(where, key, record[key])
    try:
        dt.date.fromisoformat(record["date"])
    except ValueError as error:
        raise BadRecord(f"{where}: date: {error}") from error
    _belong(where, record)


def _belong(where: str, record: Record) -> None:
    """Keys that say something only together."""
    if ("goal" in record) != ("better" in record) or record.get("better", "lower") not in SIDES:
        raise BadRecord(f"{where}: goal and better (lower or higher) belong together")
    if ("peer" in record) != bool({"peer_value", "ratio"} & set(record)):
        raise BadRecord(f"{where}: peer belongs to peer_value or ratio")
    if not {"peer_value", "ratio"} <= set(record):
        return
    worked_out = record["peer_value"] / record["value"]
    if abs(record["ratio"] - worked_out) > SAME * worked_out:
        raise BadRecord(f"{where}: ratio is {record['ratio']}, the figures give {worked_out:.3g}")


def _text(where: str, table: Record, key: str) -> None:
    text = table[key]
    if not isinstance(text, str) or not text.strip() or "\n" in text or "|" in text:
        raise BadRecord(f"{where}: {key} is one line of text without bars")
    if len(text) > LONGEST.get(key, math.inf):
        raise BadRecord(f"{where}: {key} has {len(text)} characters, at most {LONGEST[key]}")


def _numbers(where: str, key: str, value: object) -> None:
    several = isinstance(value, list) and key in {"value", "ratio", "peer_value"}
    numbers = value if several else [value]
    if several and (len(numbers) != 2 or numbers[0] > numbers[1]):
        raise BadRecord(f"{where}: {key} is a number or [least, most]")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise BadRecord(f"{where}: {key} is a number or [least, most]")
        if not math.isfinite(number):
            raise BadRecord(f"{where}: {key} is not finite")


def shown(value: float | list[float], unit: str = "") -> str:
    text = " to ".join(f"{number:,}" for number in (value if isinstance(value, list) else [value]))
    return f"{text} {unit}".strip()


def goal(record: Record) -> str:
    """The goal, and whether it was missed: what a reader must not have to work out."""
    if "goal" not in record:
        return ""
    values = record["value"] if isinstance(record["value"], list) else [record["value"]]
    lower = record["better"] == "lower"
    missed = max(values) > record["goal"] if lower else min(values) < record["goal"]
    text = f"{SIDES[record['better']]} {shown(record['goal'], record['unit'])}"
    return f"{text}, **missed**" if missed else text


def ratio(record: Record) -> str:
    if "ratio" in record:
        return shown(record["ratio"])
    if "peer_value" not in record or isinstance(record["value"], list) or not record["value"]:
        return ""
    return f"{record['peer_value'] / record['value']:.3g}"


def row(record: Record, number: int | str) -> str:
    figure = record["figure"] + (f" ({record['remark']})" if "remark" in record else "")
    peer = record.get("peer", "")
    if "peer_value" in record:
        peer += f": {shown(record['peer_value'], record['unit'])}"
    measured = shown(record["value"], record["unit"])
    cells = [figure, measured, goal(record), peer, ratio(record), record["load"], record["date"]]
    return f"| {' | '.join(cells)} | {number} |"


def section(subject: Record) -> str:
    used = (record["command"] for record in subject["records"])
    commands = {command: at for at, command in enumerate(dict.fromkeys(filter(None, used)), 1)}
    rows = [
        row(record, commands.get(record["command"], "none kept")) for record in subject["records"]
    ]
    lines = [
        f"## {subject['subject']}",
        "",
        subject["intro"],
        "",
        "| figure | measured | goal | peer | ratio | load | recorded | command |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *(f"{number}. `{command}`" for command, number in commands.items()),
    ]
    return "\n".join(lines)


def page(folder: Path = RESULTS) -> str:
    """The whole page. Raises BadRecord at the first thing that is wrong with a file."""
    subjects = [load(path) for path in sorted(folder.glob("*.json"))]
    subjects.sort(key=lambda subject: (subject["order"], subject["subject"]))
    return "\n\n".join([HEAD.rstrip(), *map(section, subjects)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check_only = parser.parse_args().check
    try:
        text = page()
    except BadRecord as error:
        print(error, file=sys.stderr)
        return 2
    if not check_only:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        print(
            "docs/benchmarks.md is not what the records say: python scripts/bench.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
