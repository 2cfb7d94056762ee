"""A variant as a package: signed by this device, naming the model that it was made of."""

import json
from pathlib import Path

from edgeveil.agent.compression.graphs import run
from edgeveil.agent.home.home import AgentHome
from edgeveil.shared.models import known_answer
from edgeveil.shared.models.origin import Derived
from edgeveil.shared.models.package import Package, assemble, parse_package, piece
from edgeveil.shared.wire.identity import Identity


def no_weights() -> bytes:
    """A safetensors file of nothing: the weights of a variant are in its graph alone."""
    text = json.dumps({"__metadata__": {"note": "the weights are in the graph"}}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def packed(
    package: Package, graph: bytes, made: str, *, calibrated: bool, signer: Identity
) -> bytes:
    """The file. What the coordinator measured of the parent says nothing of it and is left out.

    Raises ValueError if devices would not run the graph.
    """  # fmt: skip
    parent, weights = package.manifest, no_weights()
    known = (
        parent.derived if package.signer == signer.public else None
    )  # others' word on a parent is none
    changes = {
        "model": piece(graph),
        "weights": piece(weights),
        "metrics": {},
        "self_test": known_answer.told(run(graph, known_answer.records(parent.input))),
        "derived": Derived(
            parent=package.digest if known is None else known.parent,
            signer=package.signer.hex() if known is None else known.signer,
            made=made if known is None else f"{known.made}, {made}",
            calibrated=calibrated or (parent.derived is not None and parent.derived.calibrated),
        ),
    }
    data = assemble(parent.model_copy(update=changes), weights, graph, signer)
    parse_package(data)
    return data


def device_key(home: Path) -> Identity:
    """This device's own; made on a device that has joined nobody yet. Raises StateDamaged."""
    device = AgentHome(home)
    device.ensure_keys()
    return device.identity()
