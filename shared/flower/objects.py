"""Flower's content-addressed objects, looked at before Flower is allowed to inflate them.

An object is `<type> <child ids> <body length>`, a zero byte, and the body; its id is the SHA-256 of
all of it. An Array lists its chunks by number and may repeat one, so a few kilobytes can ask for
terabytes when inflated (the only amplification in the format). No flwr here: only the wire form.
"""

import json
from collections.abc import Mapping

from edgeveil.shared.base.errors import ProtocolError, RefusalCode

CHUNK_BYTES = 5 << 20  # Flower cuts arrays into chunks of this size
MAX_OBJECT_BYTES = 6 << 20  # a chunk, its head and its envelope
_KINDS = frozenset({b"Message", b"RecordDict", b"ConfigRecord", b"ArrayRecord", b"Array"})


def most_objects(bulk_bytes: int) -> int:
    """How many objects an honest message with that much bulk data can have."""
    return 16 + -(-bulk_bytes // CHUNK_BYTES)


def check_objects(contents: Mapping[str, bytes], *, most_bytes: int) -> None:
    """Raise ProtocolError(MALFORMED) unless inflating `contents` stays within `most_bytes`.

    Bounded by the bytes at hand in every step; a chunk referenced but absent is Flower's to find.
    """
    total = 0
    for content in contents.values():
        kind, children, start = _head(content)
        if kind == b"ArrayChunk":
            continue
        if kind not in _KINDS:
            raise _malformed("an object of a type that no message of ours has")
        if kind == b"Array":
            total += _inflated(contents, children, content[start:])
        else:
            total += len(content)
        if total > most_bytes:
            raise _malformed(f"objects that inflate to more than {most_bytes} bytes")


def repeating(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The chunks of a message with more than one array, which has one that later messages have too."""
    kinds = {name: _head(content)[0] for name, content in contents.items()}
    if sum(kind == b"Array" for kind in kinds.values()) < 2:
        return {}
    return {name: contents[name] for name, kind in kinds.items() if kind == b"ArrayChunk"}


def _inflated(contents: Mapping[str, bytes], children: list[str], body: bytes) -> int:
    try:
        order = json.loads(body)["arraychunk_ids"]
        sizes = [len(contents[child]) for child in children]
        return sum(sizes[index] for index in order)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _malformed("an array whose list of chunks cannot be read") from error


def _head(content: bytes) -> tuple[bytes, list[str], int]:
    """Type, child ids, and where the body starts."""
    end = content.find(b"\x00")
    words = content[: max(end, 0)].split(b" ")
    if len(words) != 3:
        raise _malformed("an object without a head")
    try:
        children = words[1].decode("ascii").split(",") if words[1] else []
    except UnicodeDecodeError as error:
        raise _malformed("an object head that is not ASCII") from error
    return words[0], children, end + 1


def _malformed(sentence: str) -> ProtocolError:
    return ProtocolError(RefusalCode.MALFORMED, f"Flower objects: {sentence}")
