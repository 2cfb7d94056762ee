"""What a device keeps of the plans it was asked about: little, bounded, and never in doubt of itself."""

import pytest

from edgeveil.agent.rounds.preflight.kept import FILE, KEPT, KeptAnswers
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode

HOUR = 3600.0
NO = RefusalCode.POLICY_SIGMA


def judged(kept, plan, now, code=None, basis="b"):
    kept.begin(plan, now)
    kept.keep(plan, basis, code)


def test_an_answer_is_found_again_after_a_restart_and_only_on_the_same_basis(tmp_path):
    judged(KeptAnswers(tmp_path), "p", 1.0, NO)
    again = KeptAnswers(tmp_path)
    assert again.find("p", "b").code is NO
    assert again.find("p", "another policy or ledger") is None
    assert again.find("q", "b") is None


def test_a_fourth_plan_within_an_hour_waits_and_known_ones_do_not(tmp_path):
    kept = KeptAnswers(tmp_path)
    for number in range(3):
        judged(kept, f"p{number}", 10.0 * number)
    for instance in (kept, KeptAnswers(tmp_path)):
        with pytest.raises(PolicyRefusal) as refused:
            instance.begin("p3", HOUR - 1)
        assert refused.value.code == "PREFLIGHT_LATER"
        instance.begin("p1", HOUR - 1)
    kept.begin("p3", HOUR + 1)


def test_one_that_was_begun_and_not_judged_counts_and_has_no_answer(tmp_path):
    KeptAnswers(tmp_path).begin("p", 1.0)
    again = KeptAnswers(tmp_path)
    assert again.find("p", "") is None
    for plan in ("q", "r"):
        again.begin(plan, 1.0)
    with pytest.raises(PolicyRefusal):
        again.begin("s", 1.0)


def test_a_clock_that_was_ahead_shuts_the_door_for_an_hour_and_no_longer(tmp_path):
    kept = KeptAnswers(tmp_path)
    for plan in "pqr":
        judged(kept, plan, 1e10)
    with pytest.raises(PolicyRefusal):
        kept.begin("s", 100.0)
    with pytest.raises(PolicyRefusal):
        KeptAnswers(tmp_path).begin("s", 100.0 + HOUR - 1)
    KeptAnswers(tmp_path).begin("s", 100.0 + HOUR)


def test_the_file_does_not_grow(tmp_path):
    kept, sizes = KeptAnswers(tmp_path), []
    for number in range(3 * KEPT):
        judged(kept, f"{number:064x}", 1200.0 * number, NO, basis="b" * 64)
        sizes.append((tmp_path / FILE).stat().st_size)
    assert max(sizes[KEPT:]) <= max(sizes[:KEPT]) + 4 * KEPT  # longer numbers of seconds
    assert kept.find(f"{0:064x}", "b" * 64) is None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"p": 1}', b'{"p": [1, "b", true, "MAYBE"]}', b'{"p": [1, "b"]}', b"[" * 40_000,
     b'{"p": ["x", "b", true, null]}', b"x" * 100_000],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(tmp_path, text):
    (tmp_path / FILE).write_bytes(text)
    (tmp_path / FILE).chmod(0o600)
    kept = KeptAnswers(tmp_path)
    assert kept.find("p", "b") is None
    judged(kept, "p", 1.0)
    assert KeptAnswers(tmp_path).find("p", "b").code is None


def test_a_link_in_its_place_is_not_followed(tmp_path):
    other = tmp_path / "other"
    judged(KeptAnswers(tmp_path), "p", 1.0)
    (tmp_path / FILE).replace(other)
    (tmp_path / FILE).symlink_to(other)
    kept = KeptAnswers(tmp_path)
    assert kept.find("p", "b") is None
    before = other.read_bytes()
    judged(kept, "q", 1.0)
    assert other.read_bytes() == before
