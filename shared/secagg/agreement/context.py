"""ctx: the 32 bytes that bind run, round, attempt, task, model, configuration and roster.

docs/protocol.md, "Context". It enters every key, signature and sealed share of an attempt, so two
agents that were told different things cannot end up in one sum.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

from edgeveil.shared.secagg.primitives.canonical import canon, digest, list_bytes, u32, u64

Raw: TypeAlias = bytes | bytearray | memoryview


def code_hash(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Over (path relative to the package with `/`, content) of every file a task declares."""
    entries = sorted(
        path.encode("ascii") + b"\x00" + hashlib.sha256(content).digest() for path, content in files
    )
    return hashlib.sha256(list_bytes(entries)).digest()


def task_hash(task_id: str, version: str, code: bytes) -> bytes:
    return digest("task", task_id.encode("ascii"), version.encode("ascii"), code)


def model_hash(tensors: Iterable[tuple[str, str, tuple[int, ...], Raw]]) -> bytes:
    """Over (name, numpy dtype name, shape, raw little-endian C-order bytes) of each sent tensor.

    Raises:
        ValueError: a name twice.
    """
    entries: dict[str, bytes] = {}
    for name, dtype, shape, raw in tensors:
        if name in entries:
            raise ValueError(f"two tensors are called {name}")
        entries[name] = canon(
            "tensor",
            name.encode("ascii"),
            dtype.encode("ascii"),
            b"".join(u32(length) for length in shape),
            hashlib.sha256(raw).digest(),
        )
    return digest("model", list_bytes(entries[name] for name in sorted(entries)))


def config_hash(params: bytes, plan_json: bytes) -> bytes:
    return digest("config", params, plan_json)


def context(
    *,
    federation_id: bytes,
    run_id: str,
    round_number: int,
    attempt: int,
    shard: int,
    task_hash: bytes,
    model_hash: bytes,
    config_hash: bytes,
    roster_hash: bytes,
) -> bytes:
    return digest(
        "ctx",
        federation_id,
        run_id.encode("ascii"),
        u64(round_number),
        u32(attempt),
        u32(shard),
        task_hash,
        model_hash,
        config_hash,
        roster_hash,
    )


def open_message(ctx: bytes) -> bytes:
    """What the coordinator signs to open an attempt."""
    return canon("open", ctx)
