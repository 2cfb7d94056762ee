"""Measured unit costs that seconds and memory are computed from; each says what it was measured on.

All on two shared x86 cores with AES instructions, fitted by hand to the rows of docs/results named here. They
reproduce those rows within about a third; they are no promise for other machines.
"""

from typing import NamedTuple


class Unit(NamedTuple):
    value: float
    what: str
    source: str


_SECAGG = "docs/results/secure-aggregation.json, n = 10 to 1,000, d = 1e5 to 1e7"
_ROUNDS = "docs/results/rounds.json, 10 to 100 agents over TLS on loopback, d = 1e5 and 1e6"

AGENT_MASK = Unit(0.8e-9, "s of CPU of a device for one lane of one mask", _SECAGG)
AGENT_NEIGHBOUR = Unit(
    0.25e-3, "s of CPU of a device for the keys and shares of one neighbour", _SECAGG
)
AGENT_MEMBER = Unit(0.1e-3, "s of CPU of a device for the signature of one member", _SECAGG)
SERVER_LANE = Unit(3.5e-9, "s of CPU of the coordinator for one lane of one upload", _SECAGG)
SERVER_MASK = Unit(
    0.7e-9, "s of CPU of the coordinator for one lane of one mask of a lost device", _SECAGG
)
SERVER_MEMBER = Unit(0.6e-3, "s of CPU of the coordinator for the messages of one member", _SECAGG)
SERVER_NEIGHBOUR = Unit(6e-6, "s of CPU of the coordinator for one pair of neighbours", _SECAGG)
SERVER_RECOVERY = Unit(0.05e-3, "s of CPU of the coordinator for one key of a lost device", _SECAGG)
AGENT_NOISE = Unit(33e-9, "s of CPU of a device for the noise of one parameter in one step",
                   "docs/results/training.json, noise for 100,000 parameters")  # fmt: skip
AGENT_TRANSPORT = Unit(0.145, "s of CPU of a device for the five exchanges", _ROUNDS)
SERVER_TRANSPORT = Unit(
    0.26, "s of CPU of coordinator and SuperLink for the five exchanges of one device", _ROUNDS
)
AGENT_MEMORY = Unit(
    810e6,
    "bytes of `agent run` with a small model",
    "docs/results/training.json, most memory of `agent run`",
)
AGENT_PARAMETER = Unit(830, "bytes of `agent run` for one parameter of the largest CNN measured (linear: 360)",
                       "docs/results/training.json, most memory of `agent run`")  # fmt: skip
SERVER_MEMORY = Unit(250e6, "bytes of an idle coordinator", _ROUNDS)
SERVER_AGENT = Unit(0.9e6, "bytes of the coordinator for one device", _ROUNDS)
SERVER_UPLOAD = Unit(7, "bytes of the coordinator for one parameter of one device", _ROUNDS)

UNITS = {name: unit for name, unit in sorted(globals().items()) if isinstance(unit, Unit)}
