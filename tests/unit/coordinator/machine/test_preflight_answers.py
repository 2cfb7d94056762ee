"""Answers to a preflight as the coordinator counts them, and what it says of them."""

import pytest

from edgeveil.coordinator.machine.preflight import YES, Answers
from edgeveil.coordinator.rounds.pacing import LASTING
from edgeveil.coordinator.rounds.preflight.words import in_words, sentence
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.wire.messages import PreflightAnswer

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))
ASKED = {A: b"1" * 32, B: b"2" * 32, C: b"3" * 32}


def test_only_an_answer_to_its_own_question_is_a_yes():
    answers = Answers(ASKED)
    answers.answered(A, PreflightAnswer(ASKED[A], None).encode())
    answers.answered(B, PreflightAnswer(ASKED[A], None).encode())
    answers.answered(C, b"yes")
    assert answers.reasons == {A: YES, B: "invalid:CTX_MISMATCH", C: "invalid:MALFORMED"}


def test_the_first_word_of_an_agent_counts_and_a_stranger_s_never():
    answers = Answers(ASKED)
    answers.refused(A, RefusalCode.POLICY_SIZE, b"\x00\x00\x00\x14")
    answers.answered(A, PreflightAnswer(ASKED[A], None).encode())
    answers.answered(b"s" * 16, PreflightAnswer(b"4" * 32, None).encode())
    answers.lost([B])
    answers.close()
    assert answers.reasons == {A: "refused:POLICY_SIZE:n-ref-20", B: "lost", C: "deadline"}
    assert not answers.waiting


@pytest.mark.parametrize("code", sorted(LASTING - {RefusalCode.POLICY_COHORT}))
def test_every_refusal_that_lasts_has_words_and_what_mends_it(code):
    what, mend = in_words(f"refused:{code}")
    assert what != "refuses"
    assert mend


def test_the_sentence_counts_and_names_why_and_no_more_than_eight():
    few = sentence({"a": YES, "b": YES, "c": "refused:POLICY_SIZE:n-ref-20"}, 3)
    assert few.startswith("2 of 3 agents would take part; needs 3: c has a size")
    assert "(POLICY_SIZE:n-ref-20)" in few
    assert sentence({"a": YES}, 1) == "1 of 1 agents would take part; needs 1"
    many = sentence({f"agent-{n:02}": "lost" for n in range(20)}, 3)
    assert many.endswith("; 12 more")
