"""Whatever bytes come as a preflight's question or answer: one spelling, or refused."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.wire.messages import (
    REFUSAL_BYTES,
    PreflightAnswer,
    PreflightQuestion,
    refusal_fits,
)

NAME = st.text("abcxyz019.-", min_size=1, max_size=20)
questions = st.builds(
    PreflightQuestion,
    task_id=NAME,
    task_version=NAME,
    code_hash=st.binary(min_size=32, max_size=32),
    params=st.binary(max_size=60),
    plan_json=st.binary(max_size=60),
    roster_body=st.binary(max_size=60),
    roster_signature=st.binary(max_size=64),
    ledger_echo=st.binary(max_size=60),
    nonce=st.binary(min_size=16, max_size=16),
)


@st.composite
def answers(draw):
    code = draw(st.none() | st.sampled_from(RefusalCode))
    about = draw(st.binary(min_size=(size := REFUSAL_BYTES.get(code, 0)), max_size=size))
    return PreflightAnswer(draw(st.binary(min_size=32, max_size=32)), code, about)


def read(kind, data):
    """What is read is spelled in exactly these bytes; everything else is refused."""
    try:
        found = kind.decode(data)
    except ProtocolError:
        return None
    assert found.encode() == data
    return found


@given(questions)
@settings(max_examples=100, deadline=None)
def test_a_question_comes_back_as_it_went(question):
    assert read(PreflightQuestion, question.encode()) == question


@given(answers())
@settings(max_examples=100, deadline=None)
def test_an_answer_comes_back_as_it_went(answer):
    assert read(PreflightAnswer, answer.encode()) == answer


@given(
    st.one_of(questions, answers()),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=6)), min_size=1, max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_no_change_of_bytes_is_read_as_something_else(message, cuts):
    data = message.encode()
    for at, piece in cuts:
        place = at % (len(data) + 1)
        data = data[:place] + piece + data[place + len(piece) // 2 :]
        for kind in (PreflightQuestion, PreflightAnswer):
            read(kind, data)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_bytes_of_a_stranger_are_refused(data):
    assert read(PreflightQuestion, data) is None
    assert read(PreflightAnswer, data) is None


@given(answers())
@settings(max_examples=100, deadline=None)
def test_an_answer_says_no_more_than_a_refusal_may(answer):
    assert answer.code is not None or not answer.about
    assert answer.code is None or refusal_fits(answer.code, answer.about)


@given(questions, questions)
@settings(max_examples=100, deadline=None)
def test_the_hash_of_a_plan_follows_the_plan_and_nothing_else(one, other):
    asked = ("task_id", "task_version", "code_hash", "params", "plan_json")
    same = all(getattr(one, name) == getattr(other, name) for name in asked)
    assert (one.plan_hash == other.plan_hash) == same
