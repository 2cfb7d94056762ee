"""What a rule may ask of an answer: facts, by name, out of what `--json` prints.

An answer of a model has one fact, one of a detector a fact for each box; each event of a counted video is one.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["number", "text", "yes or no"]
Known = bool | float | str
Fact = Mapping[str, Known]

FIELDS: Mapping[str, Kind] = {
    "label": "text",
    "score": "number",
    "value": "number",
    "threshold": "number",
    "anomalous": "yes or no",
    "count": "number",
    "line": "text",
    "direction": "text",
    "per_minute": "number",
    "wrong_way": "yes or no",
    "stopped": "yes or no",
}
OF_EVENTS = ("label", "count", "line", "direction", "per_minute", "wrong_way", "stopped")
OF_BOXES = ("label", "score", "count")
MINUTE_S = 60.0
MOST_REMEMBERED = 10_000  # crossings of one line and way within a minute


def facts_of(answer: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Of an answer as `--json` prints it; what it does not know is absent, not zero.

    `count` is how many boxes of the picture have that label; a picture without boxes has a count of 0 alone.
    """
    boxes = answer.get("boxes")
    if isinstance(boxes, list):
        counts = Counter(box["label"] for box in boxes)
        found = [{**_known(box), "count": float(counts[box["label"]])} for box in boxes]
        return tuple(found) or ({"count": 0.0},)
    known = _known(answer)
    return (known,) if known else ()


def above(answer: Mapping[str, Any], least: float) -> Mapping[str, Any]:
    """The same answer; of a detector without the boxes that are less sure than `least`."""
    if not isinstance(boxes := answer.get("boxes"), list):
        return answer
    return {**answer, "boxes": [box for box in boxes if box["score"] >= least]}


def names_of(answer: Mapping[str, Any]) -> frozenset[str]:
    """Which facts answers of this form have."""
    return frozenset(OF_BOXES if "boxes" in answer else _known(answer))


def _known(values: Mapping[str, Any]) -> dict[str, Known]:
    found = {name: _as(kind, values.get(name)) for name, kind in FIELDS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _as(kind: Kind, value: Any) -> Known | None:
    if isinstance(value, bool) or kind == "yes or no":
        return value if kind == "yes or no" and isinstance(value, bool) else None
    if kind == "text":
        return value if isinstance(value, str) else None
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


class EventFacts:
    """Give it the events of one video in the order of their times, in seconds."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def of(self, kind: str, at_s: float, label: str, line: str = "", way: str = "") -> Fact:
        """`count`: crossings of this line this way so far; `per_minute`: in the last 60 s, this one included."""
        fact: dict[str, Known] = {
            "label": label,
            "wrong_way": kind == "wrong way",
            "stopped": kind == "stopped",
        }
        if line:
            where = (line, way)
            self._counts[where] += 1
            recent = self._recent.setdefault(where, deque(maxlen=MOST_REMEMBERED))
            recent.append(at_s)
            while recent[0] <= at_s - MINUTE_S:
                recent.popleft()
            fact |= {
                "line": line,
                "direction": way,
                "count": float(self._counts[where]),
                "per_minute": float(len(recent)),
            }
        return fact
