"""Notice the same records under a new dataset name, which would start a second budget for them.

Each ledger folder keeps a sample of its records' hashes, keyed with a secret of this device, so the
file tells nobody else anything. It never leaves the device. A record that changed in any byte is
another record to it: this catches renaming and copying, not transformation.
"""

import hashlib
import heapq
import json
import os
from collections.abc import Iterable
from pathlib import Path

from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode, StateDamaged
from edgeveil.shared.base.files import private_directory, read_secret, write_atomic, write_secret

KEY = "fingerprint.key"
SAMPLE = "fingerprint.json"
KEPT = 256  # hashes per dataset
OVERLAP = 0.1  # of a sample; below it, equal records are taken for coincidence


def check_dataset(root: Path, dataset_id: str, records: Iterable[bytes]) -> None:
    """Refuse `records` if another ledger folder under `root` already answers for them.

    `root` holds one folder per dataset, named by its id. On success the sample of this one is
    renewed, so records may be added over time.

    Raises:
        PolicyRefusal: DATASET_CHANGED, naming the dataset whose ledger has to be used.
        StateDamaged: the key or a sample cannot be read.
    """
    private_directory(root)
    key = _key(root / KEY)
    hashes = {hashlib.blake2b(record, key=key, digest_size=16).hexdigest() for record in records}
    sample = heapq.nsmallest(KEPT, hashes)
    for path in sorted(root.glob(f"*/{SAMPLE}")):
        if path.parent.name == dataset_id:
            continue
        kept = _read(path)
        if _overlap(kept, hashes) > OVERLAP or _overlap(sample, set(kept)) > OVERLAP:
            raise PolicyRefusal(
                RefusalCode.DATASET_CHANGED,
                f"these records are already covered by the ledger of dataset {path.parent.name!r}; "
                f"one dataset has one budget; use that name: agent run --dataset {path.parent.name}",
            )
    folder = private_directory(root / dataset_id)
    write_atomic(folder / SAMPLE, json.dumps(sample).encode("ascii"))


def _overlap(sample: list[str], others: set[str]) -> float:
    return sum(item in others for item in sample) / len(sample) if sample else 0.0


def _key(path: Path) -> bytes:
    if not path.exists():
        write_secret(path, os.urandom(32))
    return read_secret(path)


def _read(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise StateDamaged(
            f"{path}: not a list of record hashes; training stays refused"
        ) from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise StateDamaged(f"{path}: not a list of record hashes; training stays refused")
    return found
