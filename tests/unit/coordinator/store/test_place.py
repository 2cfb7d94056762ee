"""[store] of coordinator.toml: what may stand there, and what is never shown of it."""

import pytest

from edgeveil.coordinator.store import place
from edgeveil.shared.base.errors import ConfigError

GOOD = "postgresql+psycopg://edgeveil@db.example.org/fleet"


def written(home, url, more=""):
    (home / "coordinator.toml").write_text(f'[store]\nurl = "{url}"\n{more}')
    return place.place_of(home)


def test_without_a_section_the_database_is_the_file(tmp_path):
    assert place.place_of(tmp_path) is None
    (tmp_path / "coordinator.toml").write_text('url = "https://a:1"\n')
    assert place.place_of(tmp_path) is None


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///state.db", "postgresql://u@h/d", "postgresql+psycopg://h/d", "postgresql+psycopg://u@h",
        "postgresql+psycopg://u@/d", "postgresql+psycopg://u@h/d?host=/run", "postgresql+psycopg://u@/d?host=other",
        f"{GOOD}?sslmode=disable", f"{GOOD}?options=-cfsync=off", "postgresql+psycopg://u@a,b/d",
        "postgresql+psycopg://u@h:99999/d", "postgresql+psycopg://u%0a@h/d",
    ],
)  # fmt: skip
def test_what_is_no_address_of_one_database_is_refused_in_one_line(tmp_path, url):
    with pytest.raises(ConfigError, match="store") as caught:
        written(tmp_path, url)
    assert "\n" not in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path):
    with pytest.raises(ConfigError, match="password_file") as caught:
        written(tmp_path, "postgresql+psycopg://u:canary@h/d")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:canary：1@h/d",  # the colon of a Chinese keyboard
        "postgresql+psycopg://u:p[canary]@h/d",
        "postgresql+psycopg://u@h:canary/d",
    ],
)
def test_of_a_url_that_cannot_be_taken_apart_nothing_is_shown(tmp_path, url):
    with pytest.raises(ConfigError, match="store") as caught:
        written(tmp_path, url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", [b"canary\nmore\n", b"can\0ary\n", b"\n", b"\xff\n"])
def test_what_is_not_one_line_is_no_password(tmp_path, text):
    secret = tmp_path / "password"
    secret.write_bytes(text)
    secret.chmod(0o600)
    server = written(tmp_path, GOOD, f'password_file = "{secret}"\n')
    with pytest.raises(ConfigError, match="one line of UTF-8") as caught:
        server.reached_by()
    assert "canary" not in str(caught.value)


def test_the_password_comes_from_a_file_of_its_owner_alone_and_is_in_no_repr(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("canary\n")
    secret.chmod(0o640)
    server = written(tmp_path, GOOD, f'password_file = "{secret}"\n')
    with pytest.raises(ConfigError, match="readable by others"):
        server.reached_by()
    secret.chmod(0o600)
    assert server.reached_by()["password"] == "canary"
    assert "canary" not in repr(server) + server.name


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        (GOOD, "verify-full"),
        ("postgresql+psycopg://u@localhost/d", "verify-full"),
        ("postgresql+psycopg://u@127.0.0.1:5433/d", "prefer"),
        ("postgresql+psycopg://u@[::1]/d", "prefer"),
        ("postgresql+psycopg://u@/d?host=/run/postgresql", "prefer"),
    ],
)
def test_off_this_machine_the_servers_certificate_is_always_checked(tmp_path, url, mode):
    assert written(tmp_path, url).reached_by()["sslmode"] == mode


def test_an_authority_is_checked_against_everywhere(tmp_path):
    server = written(tmp_path, "postgresql+psycopg://u@127.0.0.1/d", 'authority = "/etc/ca.pem"\n')
    told = server.reached_by()
    assert (told["sslmode"], told["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
