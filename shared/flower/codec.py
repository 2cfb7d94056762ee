"""Request and Reply as Flower records and back (docs/transport.md, "Messages").

A RecordDict holds one ConfigRecord `secagg` of bytes fields and, for bulk data, one ArrayRecord
`model` (requests) or `y` (replies) with a single Array of raw bytes; a request's may have a second one,
`frozen`, whose objects stay the same from round to round. Everything decoded here came from the network: another key, type or length is ProtocolError(MALFORMED). It checks form only;
signatures are checked by shared.wire.messages.
"""

from collections.abc import Mapping
from typing import Final

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.names import NAME
from edgeveil.shared.secagg.primitives.canonical import Malformed, uint
from edgeveil.shared.wire.canonical import parse
from edgeveil.shared.wire.messages import (
    MAX_BODY,
    Asking,
    Attempt,
    Kind,
    Reply,
    Request,
    Stage,
    refusal_fits,
)

CONFIG: Final = "secagg"
MODEL: Final = "model"
FROZEN: Final = "frozen"
MASKED: Final = "y"
RAW: Final = "edgeveil.raw"
DTYPE: Final = "uint8"
SIGNATURE_BYTES: Final = 64


def bulk_record(
    name: str, data: bytes | memoryview, frozen: bytes | memoryview | None = None
) -> ArrayRecord:
    """One record of raw bytes; `bytes` are not copied, and one record may serve many messages."""
    arrays = {name: _array(data)}
    if frozen is not None:
        arrays[FROZEN] = _array(frozen)
    return ArrayRecord(arrays)


def _array(data: bytes | memoryview) -> Array:
    raw = data if isinstance(data, bytes) else bytes(data)
    return Array(dtype=DTYPE, shape=(len(raw),), stype=RAW, data=raw)


def encode_request(request: Request, bulk: ArrayRecord | None = None) -> RecordDict:
    """`bulk`, if given, is the record of `request.bulk` that other messages share."""
    fields = {
        "stage": request.stage.encode("ascii"),
        "attempt": request.attempt.encode(),
        "body": request.body,
        "signature": request.signature,
    }
    if bulk is None and request.bulk is not None:
        bulk = bulk_record(MODEL, request.bulk, request.frozen)
    return _records(fields, MODEL, bulk)


def decode_request(records: RecordDict) -> Request:
    """Raises ProtocolError(MALFORMED)."""
    fields, bulk = _split(records, MODEL, ("stage", "attempt", "body", "signature"))
    return Request(
        _stage(fields["stage"]),
        decode_attempt(fields["attempt"]),
        _body(fields["body"]),
        _signature(fields["signature"]),
        bulk,
        _frozen(records),
    )


def encode_reply(reply: Reply) -> RecordDict:
    fields = {
        "stage": reply.stage.encode("ascii"),
        "attempt": reply.attempt.encode(),
        "body": reply.body,
        "refusal": b"" if reply.refusal is None else reply.refusal.encode("ascii"),
        "signature": reply.signature,
    }
    bulk = None if reply.bulk is None else bulk_record(MASKED, reply.bulk)
    return _records(fields, MASKED, bulk)


def decode_reply(records: RecordDict) -> Reply:
    """Raises ProtocolError(MALFORMED)."""
    fields, bulk = _split(records, MASKED, ("stage", "attempt", "body", "refusal", "signature"))
    refusal = _refusal(fields["refusal"])
    if refusal is not None and (not refusal_fits(refusal, fields["body"]) or bulk is not None):
        raise _malformed("a refusal carries more than its code allows")
    return Reply(
        _stage(fields["stage"]),
        decode_attempt(fields["attempt"]),
        _body(fields["body"]),
        refusal,
        _signature(fields["signature"]),
        bulk,
    )


def decode_attempt(data: bytes) -> Attempt:
    """The inverse of Attempt.encode; raises ProtocolError(MALFORMED)."""
    try:
        run, number, attempt = parse("attempt", data, 3)
        run_id = run.decode("ascii")
        result = Attempt(run_id, uint(number, 8), uint(attempt, 4))
    except (Malformed, UnicodeDecodeError) as error:
        raise _malformed(f"attempt: {error}") from error
    if NAME.fullmatch(run_id) is None or result.round < 1 or result.attempt < 1:
        raise _malformed("attempt: the run id is no name, or a number is below 1")
    return result


def _records(fields: Mapping[str, bytes], name: str, bulk: ArrayRecord | None) -> RecordDict:
    records = RecordDict({CONFIG: ConfigRecord(dict(fields))})
    if bulk is not None:
        records[name] = bulk
    return records


def _split(
    records: RecordDict, name: str, wanted: tuple[str, ...]
) -> tuple[dict[str, bytes], bytes | None]:
    keys = set(records)
    config = records.get(CONFIG)
    if not isinstance(config, ConfigRecord) or keys - {CONFIG, name}:
        raise _malformed(f"records other than {CONFIG} and {name}")
    if set(config) != set(wanted):
        raise _malformed(f"the {CONFIG} record has other fields than {', '.join(wanted)}")
    fields: dict[str, bytes] = {}
    for key, value in config.items():
        if not isinstance(value, bytes):
            raise _malformed(f"the field {key} is not bytes")
        fields[key] = value
    return fields, _bulk(records[name], name) if name in keys else None


def _bulk(record: object, name: str) -> bytes:
    allowed = {FROZEN} if name == MODEL else set()
    if not isinstance(record, ArrayRecord) or set(record) - allowed != {name}:
        raise _malformed(f"bulk data is not one array named {name}")
    return _raw(record, name)


def _frozen(records: RecordDict) -> bytes | None:
    """The second array of a request whose form _split has looked at."""
    record = records.get(MODEL)
    if not isinstance(record, ArrayRecord) or FROZEN not in record:
        return None
    return _raw(record, FROZEN)


def _raw(record: ArrayRecord, name: str) -> bytes:
    array = record[name]
    if array.dtype != DTYPE or array.stype != RAW or array.shape != (len(array.data),):
        raise _malformed(f"the array {name} is not raw bytes of its own length")
    return array.data


def _stage(value: bytes) -> Kind:
    try:
        name = value.decode("ascii")
        return Asking(name) if name in set(Asking) else Stage(name)
    except ValueError as error:
        raise _malformed("an unknown stage") from error


def _refusal(value: bytes) -> RefusalCode | None:
    if not value:
        return None
    try:
        return RefusalCode(value.decode("ascii"))
    except ValueError as error:
        raise _malformed("a refusal code outside the list") from error


def _body(value: bytes) -> bytes:
    if len(value) > MAX_BODY:
        raise _malformed(f"a body of {len(value)} bytes, at most {MAX_BODY}")
    return value


def _signature(value: bytes) -> bytes:
    if len(value) != SIGNATURE_BYTES:
        raise _malformed(f"a signature of {len(value)} bytes, not {SIGNATURE_BYTES}")
    return value


def _malformed(sentence: str) -> ProtocolError:
    return ProtocolError(RefusalCode.MALFORMED, f"Flower message: {sentence}")
