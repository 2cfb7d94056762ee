"""The event log in the words of JSON Schema, for programs that are not ours.

The published file is shared/events/events-1.schema.json; a test holds it against this module. A new event or
a new optional field keeps the number; a field that changes its meaning or goes away makes a new file.
"""

from importlib.resources import files
from typing import Any

from edgeveil.shared.events.log import CODE, Event

VERSION = 1
FILE = f"events-{VERSION}.schema.json"


def published() -> str:
    """The schema file that belongs to this installation."""
    return files("edgeveil.shared.events").joinpath(FILE).read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """One line of events.jsonl."""
    code = {"type": "string", "pattern": f"^{CODE.pattern}$"}
    count = {"type": "integer", "minimum": 1}
    epsilon = {"type": "number", "exclusiveMinimum": 0}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeveil:events:{VERSION}",
        "title": "One line of events.jsonl",
        "type": "object",
        "additionalProperties": False,
        "required": ["ts", "level", "event"],
        "properties": {
            "ts": {"type": "number", "description": "Unix seconds, to the millisecond"},
            "level": {"enum": ["info", "warning", "error", "alarm"]},
            "event": {"enum": [event.value for event in Event]},
            "run": code | {"description": "id of the run"},
            "round": count | {"description": "counts from 1"},
            "attempt": count | {"description": "tries of this round, from 1"},
            "stage": code | {"description": "preflight, round, share, masked, agree, unmask"},
            "agent": code | {"description": "name of the device, never its address"},
            "dur_ms": {"type": "integer", "minimum": 0, "description": "milliseconds"},
            "reason": code | {"description": "a code of a closed list"},
            "size": count | {"description": "bytes of a message; its length is public"},
            "parent": code | {"description": "RUN:ROUND or file: where an initial model is from"},
            "model": code | {"description": "SHA-256 of that model's file"},
            "epsilon_sum": epsilon | {"description": "charged by then, towards who sees only sums"},
            "epsilon_alone": epsilon | {"description": "charged by then, towards everybody"},
        },
    }


if __name__ == "__main__":
    import json

    print(json.dumps(schema(), indent=2))  # noqa: T201 - a developer's command
