"""tests/vectors/v*/*_bad_*.json: every bad input is refused, its good neighbour is not."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Refused
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment
from edgeveil.shared.secagg.primitives.sealing import unseal
from edgeveil.shared.wire.messages import (
    MaskedAccept,
    PreflightAnswer,
    PreflightQuestion,
    RoundAccept,
    RoundOffer,
)

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/vectors").glob("v*/*_bad_*.json")}  # fmt: skip
CASES = [
    pytest.param(name, case, id=f"{name}: {case['name']}")
    for name, file in sorted(FILES.items())
    for case in file["cases"]
]
PARAMS = Params(
    1, 16, 3, 8, 0, 0, 0, 80, 20, (Segment("weight", UNSIGNED, 1), Segment("params", SIGNED, 1))
)
FIVE = Cohort(bytes(32), [(bytes([i]) * 16, bytes(32)) for i in range(5)], PARAMS)
MESSAGES = {
    "m1-reply": messages.Advert,
    "m2-request": messages.ShareRequest,
    "m2-reply": messages.ShareReply,
    "m3-request": messages.MaskedRequest,
    "m3-reply": messages.MaskedReply,
    "m4-request": messages.AgreeRequest,
    "m4-reply": messages.AgreeReply,
    "m5-request": messages.UnmaskRequest,
    "m5-reply": messages.UnmaskReply,
}
BOUNDED = {"m2-request", "m2-reply", "m3-request", "m5-request", "m5-reply"}


def reader(name):
    """The parser of one file and the errors by which it refuses."""
    kind, file = name.split("_bad_")[0], FILES[name]
    if kind in MESSAGES:
        decode = MESSAGES[kind].decode
        return partial(decode, n_max=file["n_max"]) if kind in BOUNDED else decode, Malformed
    if kind == "shares":
        given = {key: bytes.fromhex(value) for key, value in file["opened_with"].items()}
        key, commitments = given.pop("key"), given.pop("commitments")
        return lambda data: unseal(key, data, commitments, **given), Refused
    return {
        "params": (Params.decode, Malformed),
        "keys": (keys.check_public, keys.BadKey),
        "round-offer": (RoundOffer.decode, ProtocolError),
        "round-accept": (RoundAccept.decode, ProtocolError),
        "preflight": (PreflightQuestion.decode, ProtocolError),
        "preflight-answer": (PreflightAnswer.decode, ProtocolError),
        "masked-accept": (MaskedAccept.decode, ProtocolError),
        "ledger-head": (SignedHead.decode, ProtocolError),
        "ledger-head-told": (SignedHead.decode, ProtocolError),
        "bitmaps": (FIVE.read_bitmap, Malformed),
    }[kind]


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_good_input_of_each_file_is_read(name):
    read, _ = reader(name)
    read(bytes.fromhex(FILES[name]["good"]))


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_bad_input_is_refused(name, case):
    read, error = reader(name)
    with pytest.raises(error):
        read(bytes.fromhex(case["hex"]))


def test_the_files_are_what_the_script_writes():
    script = [sys.executable, str(ROOT / "scripts/make_bad_vectors.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_message_of_the_protocol_has_bad_encodings():
    assert {f"{kind}_bad_encodings" for kind in MESSAGES} <= set(FILES)
    assert len(CASES) > 200
