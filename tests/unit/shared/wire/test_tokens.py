import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeveil.shared.base.errors import EnrollmentError
from edgeveil.shared.wire.tokens import PREFIX, Token

TOKEN = Token(
    url="https://example.org:8443",
    authority=b"\x01" * 16,
    federation=b"\x02" * 16,
    coordinator=b"\x03" * 16,
    secret=b"SECRET-SECRET-SE",
    expires=1_800_000_000,
    name="cam-07",
)


def changed(**values) -> Token:
    fields = {name: getattr(TOKEN, name) for name in Token.__slots__}
    return Token(**(fields | values))


def test_a_token_survives_the_way_to_the_device():
    line = TOKEN.encode()
    assert Token.decode(line) == TOKEN
    assert line.startswith(PREFIX)
    assert len(line) <= 140
    assert "\n" not in line


def test_a_wrapped_line_is_forgiven():
    line = TOKEN.encode()
    assert Token.decode(f"  {line[:80]}\n  {line[80:]}\n") == TOKEN


def test_a_token_has_one_spelling():
    line = TOKEN.encode()
    last = line[-1]
    others = [line[:-1] + char for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef0123456789-_"]
    for other in others:
        if other[-1] != last:
            with pytest.raises(EnrollmentError, match="mistyped"):
                Token.decode(other)
    with pytest.raises(EnrollmentError, match="mistyped"):
        Token.decode(line + "=")


def test_the_secret_is_in_no_repr():
    shown = repr(TOKEN) + str(TOKEN) + f"{TOKEN}"
    assert "SECRET" not in shown
    assert TOKEN.secret.hex() not in shown


def test_the_stored_proof_key_does_not_give_the_secret_away():
    assert len(TOKEN.proof_key) == 32
    assert TOKEN.secret not in pickle.dumps(TOKEN.proof_key)
    assert TOKEN.token_id not in TOKEN.proof_key
    assert len(TOKEN.token_id) == 16


@pytest.mark.parametrize("position", [4, 20, 60, 110, -1])
def test_one_mistyped_character_is_told_as_such(position):
    line = TOKEN.encode()
    at = position % len(line)
    wrong = line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1 :]
    with pytest.raises(EnrollmentError, match="incomplete or mistyped"):
        Token.decode(wrong)


def test_a_truncated_token_is_told_as_such():
    for cut in (5, 30, 100):
        with pytest.raises(EnrollmentError, match="incomplete or mistyped"):
            Token.decode(TOKEN.encode()[:-cut])


@pytest.mark.parametrize("text", ["", "hello", "ev9.AAAA", "https://example.org"])
def test_something_else_than_a_token_is_told_as_such(text):
    with pytest.raises(EnrollmentError, match="not a join token"):
        Token.decode(text)


def test_a_long_text_is_refused_before_it_is_decoded():
    with pytest.raises(EnrollmentError, match="mistyped"):
        Token.decode(PREFIX + "A" * 1_000_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "https://example.org\x7f",
        "https://example.org/path",
        "https://user@example.org",
        "https://example.org:99999",
        "https://example.org?x=1",
        "file:///etc/passwd",
    ],
)
def test_a_token_with_another_kind_of_address_is_refused(url):
    with pytest.raises(EnrollmentError, match="HOST:PORT"):
        Token.decode(changed(url=url).encode())


@pytest.mark.parametrize(
    "values", [{"name": "../x"}, {"name": ""}, {"secret": b"short"}, {"url": "https://"}]
)
def test_a_well_checksummed_but_wrong_token_is_refused(values):
    with pytest.raises(EnrollmentError, match="malformed"):
        Token.decode(changed(**values).encode())


def test_no_error_shows_the_secret():
    try:
        Token.decode(changed(name="Bad Name").encode())
    except EnrollmentError as error:
        text = "".join(traceback.format_exception(error))
        assert "SECRET" not in text
        assert TOKEN.secret.hex() not in text
    else:
        pytest.fail("accepted")


@given(st.text(max_size=200))
def test_any_other_text_is_one_clear_error(text):
    with pytest.raises(EnrollmentError):
        Token.decode(PREFIX + text)


def test_a_token_says_that_the_federation_key_is_elsewhere_and_is_not_mistyped_for_another():
    offline = changed(offline=True)
    line = offline.encode()
    assert line.startswith("ev2.")
    assert Token.decode(line) == offline
    assert not Token.decode(TOKEN.encode()).offline
    for prefix, other in (("ev1.", line), ("ev2.", TOKEN.encode())):
        with pytest.raises(EnrollmentError, match="mistyped"):
            Token.decode(prefix + other[4:])
    with pytest.raises(EnrollmentError, match="not a join token"):
        Token.decode("ev3." + line[4:])
