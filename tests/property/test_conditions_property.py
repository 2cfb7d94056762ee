"""Any text is a condition or refused in a sentence; what is one says the same as a plain reading of its tree."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeveil.agent.rules.actions import CommandAction, filled
from edgeveil.agent.rules.condition import NoCondition, parse
from edgeveil.agent.rules.facts import FIELDS, facts_of
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import ConfigError

WORDS = st.sampled_from([*FIELDS, "and", "or", "not", "true", "false", "(", ")", "<", "<=", ">", ">=", "==", "!=", "'a'", '"b"', "0.5", "-3", "1e9", "=", "'", "§", "\n"])  # fmt: skip
NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
FACTS = st.fixed_dictionaries({}, optional={
    "label": st.sampled_from(["a", "b"]), "score": NUMBERS, "value": NUMBERS, "wrong_way": st.booleans(),
})  # fmt: skip
SIGNS = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip
LEAVES = st.one_of(
    st.tuples(st.just("number"), st.sampled_from(["score", "value"]), st.sampled_from(sorted(SIGNS)), NUMBERS),
    st.tuples(st.just("text"), st.just("label"), st.sampled_from(["==", "!="]), st.sampled_from(["a", "b"])),
    st.tuples(st.just("flag"), st.just("wrong_way")),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=8,
)


def written(tree):
    match tree:
        case ("number", name, sign, value):
            return f"{name} {sign} {value!r}"
        case ("text", name, sign, value):
            return f"{name} {sign} '{value}'"
        case ("flag", name):
            return name
        case ("not", inner):
            return f"not ({written(inner)})"
        case (word, left, right):
            return f"({written(left)}) {word} ({written(right)})"


def worlds(fact):
    """The fact with each way in which what it does not know could be; values between all that is compared with."""
    if (missing := next((name for name in ("label", "score", "value", "wrong_way") if name not in fact), None)) is None:  # fmt: skip
        return [fact]
    values = {"label": ["a", "b", "c"], "wrong_way": [True, False]}.get(missing, [-2.0, -1.0, -0.5, 0.0, 0.2, 0.5, 1.0, 2.0, 3.0])  # fmt: skip
    return [world for value in values for world in worlds({**fact, missing: value})]


def said(tree, fact):
    match tree:
        case ("number" | "text", name, sign, value):
            return SIGNS[sign](fact[name], value)
        case ("flag", name):
            return fact[name]
        case ("not", inner):
            return not said(inner, fact)
        case ("and", left, right):
            return said(left, fact) and said(right, fact)
        case (_, left, right):
            return said(left, fact) or said(right, fact)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)), FACTS)
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_condition_or_is_refused_in_one_line(text, fact):
    try:
        found = parse(text)
    except NoCondition as refused:
        if not str(refused).isprintable():
            raise AssertionError from refused
        return
    assert found.follows(fact) in {True, False}


@given(TREES, FACTS)
@settings(max_examples=300, deadline=None)
def test_what_follows_is_true_however_the_unknown_may_be(tree, fact):
    text = written(tree)
    if len(text) > 900:
        return
    follows = parse(text).follows(fact)
    each = {said(tree, world) for world in worlds(fact)}
    if follows:
        assert each == {True}
    if len(worlds(fact)) == 1:
        assert follows is said(tree, fact)


@given(st.dictionaries(st.sampled_from([*FIELDS, "input", "other"]), st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))))  # fmt: skip
@settings(deadline=None)
def test_facts_have_the_kind_that_their_name_says(answer):
    kinds = {"number": float, "text": str, "yes or no": bool}
    for fact in facts_of(answer):
        for name, value in fact.items():
            assert type(value) is kinds[FIELDS[name]]
            assert not (name == "value" and math.isnan(value))


@given(st.lists(st.sampled_from(["--", "{label}", "--label={label}", "-n", "x{label}", "{", "}", "{lable}", "/bin/sh", "-c", "echo", "{score}"]), max_size=5), st.text(max_size=20).filter(lambda text: "\0" not in text))  # fmt: skip
@settings(deadline=None)
def test_a_value_is_one_argument_and_never_an_option_or_a_program(arguments, label):
    try:
        action = validate({"run": ["/usr/bin/true", *arguments]}, CommandAction, source="rule")
    except ConfigError:
        return
    made = [filled(each, {"label": label, "score": "0.5"}) for each in action.run]
    assert len(made) == len(action.run)
    placed = [at for at, each in enumerate(action.run) if "{label}" in each]
    if placed:
        assert "/bin/sh" not in action.run
    for at in placed:
        assert made[at] in {label, f"--label={label}"}
        assert made[at].startswith("--label=") or "--" in action.run[1:at]
