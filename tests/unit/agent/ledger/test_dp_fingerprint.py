"""The same records under a second name are noticed; other records are not."""

import pytest

from edgeveil.agent.ledger.fingerprint import check_dataset
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode, StateDamaged

RECORDS = [f"record {number}".encode() for number in range(2000)]


@pytest.fixture
def root(tmp_path):
    check_dataset(tmp_path / "ledger", "first", RECORDS)
    return tmp_path / "ledger"


@pytest.mark.parametrize(
    "records",
    [RECORDS, RECORDS[::-1], RECORDS[:1000], [*RECORDS, *(b"more" + r for r in RECORDS)]],
    ids=["same", "reordered", "half", "twice as many"],
)
def test_known_records_under_another_name_are_refused(root, records):
    with pytest.raises(PolicyRefusal, match="first") as caught:
        check_dataset(root, "second", records)
    assert caught.value.code is RefusalCode.DATASET_CHANGED
    assert not (root / "second").exists()


def test_other_records_may_share_a_few(root):
    check_dataset(root, "second", [b"other" + record for record in RECORDS[:1900]] + RECORDS[:50])


def test_the_same_name_may_grow(root):
    check_dataset(root, "first", [*RECORDS, b"one more"])
    check_dataset(root, "first", RECORDS)


def test_no_records_match_nothing(root):
    check_dataset(root, "empty", [])
    check_dataset(root, "third", [b"something"])


def test_the_files_are_private_and_keyed(root, tmp_path):
    check_dataset(tmp_path / "elsewhere", "first", RECORDS)
    mine = root / "first" / "fingerprint.json"
    assert mine.stat().st_mode & 0o777 == 0o600
    assert (root / "fingerprint.key").stat().st_mode & 0o777 == 0o600
    assert mine.read_bytes() != (tmp_path / "elsewhere/first/fingerprint.json").read_bytes()


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_damaged_sample_refuses_training(root, text):
    (root / "first" / "fingerprint.json").write_text(text)
    with pytest.raises(StateDamaged, match="record hashes"):
        check_dataset(root, "second", RECORDS)
