"""Write tests/vectors/v*/*_bad_*.json: inputs that every implementation of the protocol must refuse.

    python scripts/make_bad_vectors.py            # rewrite the files
    python scripts/make_bad_vectors.py --check    # exit 1 if a file differs from what this writes

Each file names the parser (`reads`), a `good` input it accepts, the limit it was given where there is
one, and `cases` of a name and bytes in hex. Everything follows from constants. A file lies in the
folder of the protocol version that its bytes came with.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.privacy.ledger.heads import SignedHead, ToldBudget
from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives.canonical import canon, f64, list_bytes, u8, u16, u32, u64
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal
from edgeveil.shared.wire.canonical import canon as app
from edgeveil.shared.wire.messages import (
    PROTOCOL,
    VERSIONS,
    MaskedAccept,
    PreflightAnswer,
    PreflightQuestion,
    RoundAccept,
    RoundOffer,
    Tensor,
)

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
SINCE_2 = frozenset(
    {
        "m2-reply_bad_encodings",
        "m3-request_bad_encodings",
        "shares_bad_ciphertexts",
        "round-offer_bad_encodings",
        "round-accept_bad_encodings",
        "preflight_bad_encodings",
        "preflight-answer_bad_encodings",
    }
)
N_MAX = 4
Case = tuple[str, bytes]


def fill(name: str, size: int) -> bytes:
    """Bytes that look like nothing, the same everywhere."""
    return hashlib.shake_256(f"edgeveil-bad/{name}".encode()).digest(size)


IDS = sorted(fill(f"id/{i}", 16) for i in range(N_MAX + 1))
SEALED = tuple(
    (agent, fill(f"sealed/{i}", 81), fill(f"commitments/{i}", 32))
    for i, agent in enumerate(IDS[:3])
)
SHARES = tuple((agent, 1 + i % 2, fill(f"share/{i}", 32)) for i, agent in enumerate(IDS[:3]))
SIGNATURE = fill("signature", 64)
COHORT = tuple((agent, fill(f"advert/{i}", 32)) for i, agent in enumerate(IDS[:3]))
NEIGHBOURS = tuple(
    messages.Neighbour(agent, fill(f"c/{i}", 32), fill(f"s/{i}", 32), 7 + i, fill(f"sig/{i}", 64))
    for i, agent in enumerate(IDS[1:3])
)
GOOD = {
    "m1-reply": messages.Advert(
        fill("ctx", 32), IDS[0], fill("c", 32), fill("s", 32), 7, SIGNATURE
    ).encode(),
    "m2-request": messages.ShareRequest(COHORT, NEIGHBOURS, 2, 2, 0, 3).encode(),
    "m2-reply": messages.ShareReply(SEALED, SIGNATURE).encode(),
    "m3-request": messages.MaskedRequest(b"\x07", SEALED).encode(),
    "m3-reply": messages.MaskedReply(SIGNATURE).encode(),
    "m4-request": messages.AgreeRequest(b"\x07").encode(),
    "m4-reply": messages.AgreeReply(SIGNATURE).encode(),
    "m5-request": messages.UnmaskRequest(((0, SIGNATURE), (2, SIGNATURE))).encode(),
    "m5-reply": messages.UnmaskReply(SHARES, SIGNATURE).encode(),
}


def framing(good: bytes) -> Iterator[Case]:
    """What is wrong for every labelled message: its frame."""
    label = good[1 : 1 + good[0]]
    body = good[1 + len(label) :]
    yield "empty", b""
    yield "label alone", good[: 1 + len(label)]
    yield "last byte missing", good[:-1]
    yield "half of it", good[: len(good) // 2]
    yield "a byte after the end", good + b"\x00"
    yield "itself twice", good + good
    yield "another protocol version", good.replace(b"-v1/", b"-v2/", 1)
    ours, other = (b"secagg", b"app") if b"secagg" in label else (b"app", b"secagg")
    foreign = label.replace(ours, other, 1)
    yield "the prefix of the other family of labels", u8(len(foreign)) + foreign + body
    yield "a longer label", u8(len(label) + 1) + label + b"x" + body
    yield "one field more announced", good[: 1 + len(label)] + u8(body[0] + 1) + body[1:]
    yield "one field fewer announced", good[: 1 + len(label)] + u8(body[0] - 1) + body[1:]
    yield "an empty field more", good[: 1 + len(label)] + u8(body[0] + 1) + body[1:] + u32(0)
    yield "first length one too large", _resized(good, 1)
    yield "first length one too small", _resized(good, -1)
    yield "first length of four gigabytes", _length_at(good, 0xFFFFFFFF)


def _resized(good: bytes, by: int) -> bytes:
    at = 2 + good[0]
    return _length_at(good, int.from_bytes(good[at : at + 4], "big") + by)


def _length_at(good: bytes, length: int) -> bytes:
    at = 2 + good[0]
    return good[:at] + u32(length) + good[at + 4 :]


def lists() -> Iterator[tuple[str, Case]]:
    """(label, case): lists out of order, repeated, too long, of wrong items; signatures cut."""
    for name, sealed in (
        ("out of order", SEALED[::-1]),
        ("an entry twice", (SEALED[0], *SEALED)),
        ("more entries than the limit", tuple((agent, bytes(81), bytes(32)) for agent in IDS)),
        ("a ciphertext of 80 bytes", ((IDS[0], bytes(80), bytes(32)),)),
        ("an id of 15 bytes", ((IDS[0][:15], bytes(81), bytes(32)),)),
        ("one commitment", ((IDS[0], bytes(81), bytes(16)),)),
        ("no commitments, as in version 1", ((IDS[0], bytes(81), b""),)),
        ("a commitment of 17 bytes", ((IDS[0], bytes(81), bytes(33)),)),
    ):
        yield "m2-reply", (name, messages.ShareReply(sealed, SIGNATURE).encode())
        yield "m3-request", (name, messages.MaskedRequest(b"\x07", sealed).encode())
    request = messages.ShareRequest(COHORT, NEIGHBOURS, 2, 2, 0, 3)
    for name, changed in (
        ("cohort out of order", replace(request, cohort=COHORT[::-1])),
        ("a member twice", replace(request, cohort=(COHORT[0], *COHORT))),
        (
            "more members than the limit",
            replace(request, cohort=tuple((a, bytes(32)) for a in IDS)),
        ),
        ("a neighbour twice", replace(request, neighbours=(NEIGHBOURS[0], *NEIGHBOURS))),
        ("neighbours out of order", replace(request, neighbours=NEIGHBOURS[::-1])),
    ):
        yield "m2-request", (name, changed.encode())
    for name, shares in (
        ("out of order", SHARES[::-1]),
        ("both kinds of one peer", ((*SHARES[0][:1], 2, bytes(32)), *SHARES)),
        ("a share of 31 bytes", ((IDS[0], 1, bytes(31)),)),
        ("more shares than the limit", tuple((agent, 1, bytes(32)) for agent in IDS)),
    ):
        yield "m5-reply", (name, messages.UnmaskReply(shares, SIGNATURE).encode())
    for name, signatures in (
        ("a position twice", ((1, SIGNATURE), (1, SIGNATURE))),
        ("positions out of order", ((2, SIGNATURE), (1, SIGNATURE))),
        ("a signature of 63 bytes", ((1, bytes(63)),)),
        ("more signatures than the limit", tuple((i, SIGNATURE) for i in range(N_MAX + 1))),
    ):
        yield "m5-request", (name, messages.UnmaskRequest(signatures).encode())
    for size in (0, 63, 65):
        yield "m3-reply", (f"a signature of {size} bytes", canon("m3-reply", bytes(size)))
        yield "m4-reply", (f"a signature of {size} bytes", canon("m4-reply", bytes(size)))
    fields = (bytes(32), IDS[0], bytes(32), bytes(32), u32(7), SIGNATURE)
    for place, size in ((0, 31), (1, 17), (2, 33), (3, 0), (4, 3), (5, 65)):
        wrong = (*fields[:place], bytes(size), *fields[place + 1 :])
        yield "m1-reply", (f"field {place} of {size} bytes", canon("m1-reply", *wrong))
    version_1 = canon("m2-reply", bytes(32), messages.sealed_list(SEALED), SIGNATURE)
    yield "m2-reply", ("a commitment to the seed, as in version 1", version_1)
    huge = u32(0xFFFFFFFF)
    yield "m5-request", ("a list of four billion items", canon("m5-request", huge))
    yield "m3-request", ("a list of four billion items", canon("m3-request", b"\x07", huge))
    echo = (list_bytes([]), list_bytes([]), u16(2), u16(2), u16(0), u16(3))
    yield "m2-request", ("a quorum of two bytes", canon("m2-request", *echo))


def parameters() -> tuple[bytes, list[Case]]:
    segments = (Segment("weight", UNSIGNED, 1), Segment("params", SIGNED, 8, 1, 100, 0.5))
    good = Params(1, 16, 3, 16, 100_000, 100_000, 1, 80, 20, segments).encode()
    numbers = [u8(1), u8(16), u32(3), u32(16), u32(100_000), u32(100_000), u16(1), u8(80), u8(20)]
    encoded = [segment.encode() for segment in segments]

    def made(place: int, field: bytes) -> bytes:
        changed = [*numbers[:place], field, *numbers[place + 1 :]]
        return canon("params", *changed, list_bytes(encoded))

    cases = list(framing(good))
    for name, place, field in (
        ("generator 0", 0, u8(0)),
        ("generator 3", 0, u8(3)),
        ("lanes of 8 bits", 1, u8(8)),
        ("lanes of 64 bits", 1, u8(64)),
        ("n_min 1", 2, u32(1)),
        ("n_min above n_max", 2, u32(17)),
        ("n_max above 65535", 3, u32(65_536)),
        ("n_max in two bytes", 3, u16(16)),
        ("gamma above one", 4, u32(1_000_001)),
        ("delta above one", 5, u32(1_000_001)),
        ("c_min in four bytes", 6, u32(1)),
        ("sigma in two bytes", 7, u16(80)),
    ):
        cases.append((name, made(place, field)))

    def with_segments(*items: bytes) -> bytes:
        return canon("params", *numbers, list_bytes(items))

    def segment(*fields: bytes) -> bytes:
        return canon("segment", *fields)

    step, one = f64(0.5), (u8(0), u32(8), u8(1), u32(100))
    infinite, nan = f64(float("inf")), f64(float("nan"))
    cases += [
        ("no segment", with_segments()),
        ("the same name twice", with_segments(encoded[0], encoded[0])),
        ("seventeen segments", with_segments(*[encoded[0]] * 17)),
        ("a name in capitals", with_segments(segment(b"PARAMS", *one, step))),
        ("an empty name", with_segments(segment(b"", *one, step))),
        ("a name that is not ASCII", with_segments(segment(b"p\xc3\xa4r", *one, step))),
        ("kind 2", with_segments(segment(b"a", u8(2), *one[1:], step))),
        ("no lanes", with_segments(segment(b"a", u8(0), u32(0), u8(1), u32(1), step))),
        ("signed limbs", with_segments(segment(b"a", u8(0), u32(8), u8(2), u32(1), step))),
        ("lanes no multiple of limbs", with_segments(segment(b"a", u8(1), u32(8), u8(3), u32(1), step))),
        ("bound 0", with_segments(segment(b"a", *one[:3], u32(0), step))),
        ("step 0", with_segments(segment(b"a", *one, f64(0.0)))),
        ("step below 0", with_segments(segment(b"a", *one, f64(-0.5)))),
        ("step infinite", with_segments(segment(b"a", *one, infinite))),
        ("step not a number", with_segments(segment(b"a", *one, nan))),
        ("step in four bytes", with_segments(segment(b"a", *one, bytes(4)))),
        ("too many lanes", with_segments(segment(b"a", u8(0), u32(0xFFFFFFFF), u8(1), u32(1), step))),
    ]  # fmt: skip
    return good, cases


POINTS = {
    "zero": bytes(32),
    "one": b"\x01" + bytes(31),
    "order 8": "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "order 8, the other": "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "p - 1": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "p, a second spelling of zero": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "p + 1, a second spelling of one": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "p + 9, a second spelling of nine": "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "nine with the unused bit": "0900000000000000000000000000000000000000000000000000000000000080",
    "all ones": b"\xff" * 32,
    "31 bytes": bytes(31),
    "33 bytes": bytes(33),
}


def ciphertexts() -> tuple[bytes, dict[str, str], list[Case]]:
    """A sealed share and what it is opened with; then what must not open."""
    key, ctx, u1_hash = fill("key", 32), fill("ctx", 32), fill("u1", 32)
    scope = {"ctx": ctx, "u1_hash": u1_hash, "sender": IDS[0], "receiver": IDS[1]}
    pair = SharePair(1, fill("seed-share", 32), fill("secret-share", 32))
    commitments = fill("commitments", 32)
    good = seal(key, pair, commitments, **scope)
    given = {"key": key, "commitments": commitments, **scope}
    opened_with = {name: value.hex() for name, value in given.items()}
    other = bytes(32)
    return good, opened_with, [
        ("first bit flipped", bytes([good[0] ^ 1]) + good[1:]),
        ("last bit of the tag flipped", good[:-1] + bytes([good[-1] ^ 1])),
        ("cut", good[:-1]),
        ("longer", good + b"\x00"),
        ("empty", b""),
        ("zeros", bytes(81)),
        ("of another attempt", seal(key, pair, commitments, **{**scope, "ctx": other})),
        ("of another cohort", seal(key, pair, commitments, **{**scope, "u1_hash": other})),
        ("of another sender", seal(key, pair, commitments, **{**scope, "sender": IDS[2]})),
        ("for another receiver", seal(key, pair, commitments, **{**scope, "receiver": IDS[2]})),
        ("sent back", seal(key, pair, commitments, **{**scope, "sender": IDS[1], "receiver": IDS[0]})),
        ("under another key", seal(other, pair, commitments, **scope)),
        ("beside other commitments", seal(key, pair, commitments[::-1], **scope)),
        ("beside one commitment", seal(key, pair, commitments[:16], **scope)),
        ("beside none, as in version 1", _sealed_in_version_1(key, pair, scope)),
        ("a shorter share inside", seal(key, SharePair(1, bytes(32), bytes(31)), commitments, **scope)),
    ]  # fmt: skip


def _sealed_in_version_1(key: bytes, pair: SharePair, scope: dict[str, bytes]) -> bytes:
    data = canon("share", *(scope[name] for name in ("ctx", "u1_hash", "sender", "receiver")))
    return AESGCM(key).encrypt(bytes(12), u8(pair.x) + pair.seed + pair.secret, data)


def offers() -> tuple[bytes, list[Case]]:
    offer = RoundOffer(
        task_id="task",
        task_version="1.0.0",
        code_hash=bytes(32),
        shard=0,
        params=b"params",
        plan_json=b"{}",
        roster_body=b"roster",
        roster_signature=bytes(64),
        tensors=(Tensor("weight", (3, 2)),),
        ledger_echo=b"",
        deadline_ms=1000,
        open_signature=bytes(64),
    )
    good = offer.encode()
    versions, shard = u32(4) + offer.versions.encode(), u32(4) + u32(0)
    other = [
        (name, good.replace(versions, u32(len(value)) + value, 1))
        for name, value in (
            ("versions in two bytes", u16(1)),
            ("version 0", u16(0) + u16(1)),
            ("versions in the wrong order", u16(2) + u16(1)),
            ("only newer versions", u16(PROTOCOL + 1) + u16(9)),
            ("only older versions", u16(1) + u16(VERSIONS.oldest - 1)),
        )
    ]
    head, tail = good.rsplit(bytes(32) + shard, 1)
    return good, [
        *framing(good),
        *other,
        ("a shard of two bytes", head + bytes(32) + u32(2) + u16(0) + tail),
        ("a task that is not ASCII", good.replace(b"task", b"t\xffsk", 1)),
        ("a tensor of nine dimensions", replace(offer, tensors=(Tensor("w", (1,) * 9),)).encode()),
    ]  # fmt: skip


def heads() -> dict[str, tuple[bytes, list[Case]]]:
    """Ledger heads, without and with the budget that a device may tell."""
    told = ToldBudget(1.5, 8.0, 1e-5, 0)
    head = SignedHead(fill("dataset", 16), 7, fill("hash", 32), SIGNATURE)
    bare, whole = head.encode(), replace(head, told=told).encode()

    def with_budget(*fields: bytes, label: str = "ledger-budget") -> bytes:
        return whole.replace(told.encode(), app(label, *fields)).replace(
            u32(len(told.encode())) + app(label, *fields),
            u32(len(app(label, *fields))) + app(label, *fields),
        )

    reals = {
        "not a number": (math.nan, 8.0, 1e-5),
        "infinite": (math.inf, 8.0, 1e-5),
        "negative": (-1.0, 8.0, 1e-5),
        "minus zero": (-0.0, 8.0, 1e-5),
        "beyond any ledger": (1e5, 8.0, 1e-5),
        "a limit of zero": (1.0, 0.0, 1e-5),
        "a limit above fifty": (1.0, 51.0, 1e-5),
        "delta zero": (1.0, 8.0, 0.0),
        "delta a tenth": (1.0, 8.0, 0.1),
    }
    cases = [(name, with_budget(u16(1), *map(f64, row), u32(0))) for name, row in reals.items()]
    plain = (f64(1.5), f64(8.0), f64(1e-5))
    return {
        "ledger-head_bad_encodings": (
            bare,
            [*framing(bare), ("a data set of 15 bytes", app("ledger-head-signed", *_head(15, 32, 64))),
             ("a hash of 31 bytes", app("ledger-head-signed", *_head(16, 31, 64))),
             ("a signature of 63 bytes", app("ledger-head-signed", *_head(16, 32, 63)))],
        ),
        "ledger-head-told_bad_encodings": (
            whole,
            [
                *framing(whole),
                *cases,
                ("another layout", with_budget(u16(2), *plain, u32(0))),
                ("a real number of four bytes", with_budget(u16(1), plain[0][:4], *plain[1:], u32(0))),
                ("a sixth number", with_budget(u16(1), *plain, u32(0), u32(0))),
                ("resets of two bytes", with_budget(u16(1), *plain, u16(0))),
                ("another label", with_budget(u16(1), *plain, u32(0), label="ledger-head")),
            ],
        ),
    }  # fmt: skip


def _head(dataset: int, digest: int, signature: int) -> tuple[bytes, ...]:
    return bytes(dataset), u64(7), bytes(digest), bytes(signature)


def questions() -> tuple[bytes, list[Case]]:
    question = PreflightQuestion(
        task_id="task",
        task_version="1.0.0",
        code_hash=fill("code", 32),
        params=b"params",
        plan_json=b"{}",
        roster_body=b"roster",
        roster_signature=SIGNATURE,
        ledger_echo=b"",
        nonce=fill("nonce", 16),
    )
    good = question.encode()
    newer = replace(VERSIONS, oldest=PROTOCOL + 1, newest=PROTOCOL + 1)
    return good, [
        *framing(good),
        ("a nonce of 15 bytes", replace(question, nonce=bytes(15)).encode()),
        ("no nonce", replace(question, nonce=b"").encode()),
        ("a code hash of 33 bytes", replace(question, code_hash=bytes(33)).encode()),
        ("a task that is not ASCII", good.replace(b"task", b"t\xe4sk", 1)),
        ("versions without a common one", replace(question, versions=newer).encode()),
        ("versions out of order", good.replace(VERSIONS.encode(), u16(3) + u16(2), 1)),
        ("versions of six bytes", app("preflight", bytes(6), *[b""] * 9)),
        ("an offer", good.replace(b"/preflight", b"/round-off", 1)),
    ]


def answers() -> tuple[bytes, list[Case]]:
    asked, version = fill("question", 32), u16(PROTOCOL)
    good = PreflightAnswer(asked, RefusalCode.POLICY_SIZE, u32(20)).encode()

    def answer(*fields: bytes) -> bytes:
        return app("preflight-answer", *fields)

    return good, [
        *framing(good),
        ("a code outside the list", answer(version, asked, b"MAYBE", b"")),
        ("a code in small letters", answer(version, asked, b"internal", b"")),
        ("a code that is not ASCII", answer(version, asked, b"\xff", b"")),
        ("yes, with words", answer(version, asked, b"", u32(20))),
        ("more than the code allows", answer(version, asked, b"POLICY_SIGMA", u32(20))),
        ("a size of eight bytes", answer(version, asked, b"POLICY_SIZE", u64(20))),
        ("a hash of 31 bytes", answer(version, asked[1:], b"", b"")),
        ("a newer version than was offered", answer(u16(PROTOCOL + 1), asked, b"", b"")),
        ("a version of four bytes", answer(u32(PROTOCOL), asked, b"", b"")),
    ]


def files() -> dict[str, dict[str, Any]]:
    """File name → content; the bytes of each case in hex."""
    found: dict[str, dict[str, Any]] = {}
    for label, good in GOOD.items():
        cases = [*framing(good), *(case for name, case in lists() if name == label)]
        found[f"{label}_bad_encodings"] = _file(f"message {label}", good, cases, n_max=N_MAX)
    good, cases = parameters()
    found["params_bad_values"] = _file("params", good, cases)
    points = [(n, p if isinstance(p, bytes) else bytes.fromhex(p)) for n, p in POINTS.items()]
    found["keys_bad_points"] = _file("an X25519 public key", b"\x09" + bytes(31), points)
    good, opened_with, cases = ciphertexts()
    found["shares_bad_ciphertexts"] = _file("a sealed share", good, cases, opened_with=opened_with)
    good, cases = offers()
    found["round-offer_bad_encodings"] = _file("the application's round offer", good, cases)
    good = RoundAccept(b"advert", b"head").encode()
    chosen = u32(2) + u16(PROTOCOL)
    newer = good.replace(chosen, u32(2) + u16(PROTOCOL + 1), 1)
    older = good.replace(chosen, u32(2) + u16(VERSIONS.oldest - 1), 1)
    cases = [
        *framing(good),
        ("a newer version than was offered", newer),
        ("an older version than was offered", older),
    ]
    found["round-accept_bad_encodings"] = _file("the application's round accept", good, cases)
    good, cases = questions()
    found["preflight_bad_encodings"] = _file("a preflight's question", good, cases)
    good, cases = answers()
    found["preflight-answer_bad_encodings"] = _file("a preflight's answer", good, cases)
    good = MaskedAccept(b"m3-reply", b"head").encode()
    found["masked-accept_bad_encodings"] = _file(
        "the application's masked accept", good, [*framing(good)]
    )
    for name, (good, cases) in heads().items():
        found[name] = _file("a signed ledger head", good, cases)
    bitmaps = [("of two bytes", b"\x1f\x00"), ("empty", b""), ("a padding bit", b"\x3f")]
    found["bitmaps_bad_padding"] = _file("a bitmap over five agents", b"\x1f", bitmaps)
    return found


def _file(reads: str, good: bytes, cases: list[Case], **more: Any) -> dict[str, Any]:
    listed = [{"name": name, "hex": data.hex()} for name, data in cases]
    return {"reads": reads, **more, "good": good.hex(), "cases": listed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, content in files().items():
        folder = FOLDER / ("v2" if name in SINCE_2 else "v1")
        path, text = folder / f"{name}.json", json.dumps(content, indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        if not check:
            path.write_text(text)
    if stale:
        print(f"differ from scripts/make_bad_vectors.py: {', '.join(stale)}")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
