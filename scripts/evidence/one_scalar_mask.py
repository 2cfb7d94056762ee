"""The uploads of one client in two rounds, subtracted: what changed between them, if one number masks all weights.

    python scripts/evidence/one_scalar_mask.py

OpenFL adds one float to every weight of a client, the same in every round. Needs its files and none of its
dependencies: `pip install --no-deps openfl==1.9`. Of secagg-v1 one agent uploads the same vector twice.
"""

import ast
import os
import random
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/benches"))

from secagg_bench import Bench, params  # noqa: E402

CLIENTS, LENGTH, VICTIM = 3, 1000, 2
NOT_INSTALLED = 2


def openfl_function(file: str, name: str, **known: object) -> Callable:
    """One function of the installed files, without importing what its module needs besides."""
    source = Path(str(distribution("openfl").locate_file(file))).read_text(encoding="utf-8")
    (found,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    known |= {"random": random, "np": np}
    code = "from __future__ import annotations\n" + ast.unparse(found)
    exec(compile(code, file, "exec"), known)  # noqa: S102
    return known[name]


def openfl_uploads(rounds: list[np.ndarray]) -> list[np.ndarray]:
    """What a collaborator sends in each round; its keys and seed are fresh, its masks OpenFL's."""
    crypto = "openfl/utilities/secagg/crypto.py"
    generator = openfl_function(crypto, "pseudo_random_generator")
    shared = openfl_function(crypto, "calculate_shared_mask", pseudo_random_generator=generator)
    agreed = [[VICTIM, other, os.urandom(32)] for other in range(1, CLIENTS + 1)]
    masks = {"private_mask": [generator(random.random())], "shared_mask": [shared(agreed)]}  # noqa: S311
    client = SimpleNamespace(_private_mask=None, _shared_mask=None, collaborator_name="victim")
    client.tensor_db = SimpleNamespace(get_tensor_from_cache=lambda key: masks[key[0]])
    apply = openfl_function(
        "openfl/component/collaborator/collaborator.py", "_apply_masks", TensorKey=lambda *key: key
    )
    key = ("weights", "victim", 0, False, ("trained",))
    sent = [{key: weights} for weights in rounds]
    for tensors in sent:
        apply(client, tensors)
    return [tensors[key] for tensors in sent]


def our_uploads() -> list[np.ndarray]:
    """One agent's masked vector in two rounds; the vector itself is the same in both."""
    uploads = []
    for number in range(2):
        ctx = sha256(bytes([number])).digest()
        bench = Bench.of(CLIENTS, params(CLIENTS, lanes=LENGTH), ctx=ctx)
        bench.play()
        own = bench.agents[0].id
        (packed,) = (row[4] for row in bench.traffic if row[:2] == ("masked", own))
        uploads.append(np.frombuffer(packed, "<u2"))
    return uploads


def main() -> int:
    first, second = (np.random.default_rng().normal(0, 0.05, LENGTH) for _ in range(2))
    try:
        sent = openfl_uploads([first, second])
    except PackageNotFoundError:
        print("OpenFL is not installed: pip install --no-deps openfl==1.9", file=sys.stderr)
        return NOT_INSTALLED
    masked = np.abs(sent[0] - first).min() > 0
    read = np.isclose(sent[1] - sent[0], second - first, atol=1e-9).sum()
    before, after = our_uploads()
    ours = np.sum(before == after)
    print(
        f"| change between two rounds | OpenFL {distribution('openfl').version}: {read} of {LENGTH} weights"
        f" read | secagg-v1: {ours} of {len(before)} lanes |"
    )
    return (
        0 if masked and read == LENGTH and ours <= 3 else 1
    )  # 1,001 lanes of 16 bits agree 0.015 times


if __name__ == "__main__":
    raise SystemExit(main())
