"""Deal a public data set to N demo agents: DIR/agent-1/data.npz … and DIR/test.npz.

The pieces are disjoint and class-balanced; the split follows a fixed public seed, so a second run
changes nothing. "mnist" holds out 1,000 of its 5,000 images, "fashion" takes 1,000 of the 10,000
official test images.
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from public_data_bench import (
        PublicImages,
        fashion_mnist,
        mnist_5000,
        stratified_order,
    )

    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
    from edgeveil.shared.base.files import write_atomic
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

SEED = 1
HELD_OUT = 1000
MOST_AGENTS = 100


def split(dataset: str, agents: int, seed: int = SEED) -> tuple[list[PublicImages], PublicImages]:
    """One piece per agent, sizes differing by at most one, and the held-out test set."""
    if dataset == "fashion":
        training, test = fashion_mnist("train"), fashion_mnist("test")
        order = stratified_order(training.labels, seed)
        test = test.take(stratified_order(test.labels, seed)[:HELD_OUT])
    else:
        training = mnist_5000()
        order = stratified_order(training.labels, seed)
        test, order = training.take(order[:HELD_OUT]), order[HELD_OUT:]
    return [training.take(rows) for rows in np.array_split(order, agents)], test


def write(out: Path, pieces: Sequence[PublicImages], test: PublicImages) -> list[Path]:
    """Write what is missing or different and return those paths; never mixes two splits."""
    wanted = {out / f"agent-{index}" / "data.npz": piece for index, piece in enumerate(pieces, 1)}
    strangers = sorted(
        folder
        for folder in out.glob("agent-*")
        if re.fullmatch(r"agent-\d+", folder.name) and folder / "data.npz" not in wanted
    )
    if strangers:
        raise ConfigError(
            f"{strangers[0]}: left from a split for more agents, whose pieces overlap with these; "
            f"remove {out} or choose another --out"
        )
    changed = []
    for path, piece in {**wanted, out / "test.npz": test}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, X=piece.pixels, y=piece.labels)  # equal arrays, equal bytes
        data = buffer.getvalue()
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data)
            changed.append(path)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, required=True, help=f"1 to {MOST_AGENTS}")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--dataset", choices=("mnist", "fashion"), default="mnist")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.agents <= MOST_AGENTS:
        parser.error(f"--agents: {chosen.agents} is not between 1 and {MOST_AGENTS}")
    try:
        pieces, test = split(chosen.dataset, chosen.agents)
        changed = write(chosen.out, pieces, test)
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    sizes = sorted({len(piece) for piece in pieces})
    print(
        f"{chosen.out}: {chosen.agents} agents with {' or '.join(map(str, sizes))} "
        f"{chosen.dataset} images each, {len(test)} held out; {len(changed)} files written"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
