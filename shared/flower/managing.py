"""What a simulation says to its devices beside the protocol: one JSON object down, one up.

No device that runs by itself answers these messages (agent.simulation alone does).
"""

import json
from typing import Any, Final

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import ConfigRecord, RecordDict

MESSAGE: Final = "query.simulation"
HOME: Final = "home"  # in a node's configuration: the folder of its device
RECORD: Final = "simulation"


def encode(values: dict[str, Any]) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"json": json.dumps(values)})})


def decode(records: RecordDict) -> dict[str, Any]:
    """What encode() was given; raises ValueError for anything else."""
    record = records.get(RECORD)
    text = record.get("json") if isinstance(record, ConfigRecord) else None
    if not isinstance(text, str):
        raise ValueError("not a message of a simulation")
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a message of a simulation")
    return values
