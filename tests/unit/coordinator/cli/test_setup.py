"""What `coordinator init` accepts, and what it says when it is given something else the next time."""

import re

import pytest
from typer.testing import CliRunner

from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.cli.setup import initialise, wanted
from edgeveil.shared.base.errors import ConfigError

URL = "https://fl.example.org:9000"


def init(folder, **changes):
    given = {"url": URL, "listen": None, "hosts": (), "passphrase": None} | changes
    return initialise(folder / "coordinator", folder / "federation", **given)


@pytest.mark.parametrize(
    "url",
    [
        "fl.example.org:9000",
        "http://fl.example.org:9000",
        "https://fl.example.org:99999",
        "https://fl.example.org:0",
        "https://fl.example.org:9000/",
        "https://me@fl.example.org:9000",
        "https://fl.example.org :9000",
        "https://",
    ],
)
def test_an_address_that_no_token_could_carry_is_refused_before_a_key_is_made(tmp_path, url):
    with pytest.raises(ConfigError, match="https://HOST:PORT"):
        init(tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_address_is_told_before_a_passphrase_is_asked_for(tmp_path):
    found = CliRunner().invoke(app, ["init", "--url", "fl.example.org", "--home", str(tmp_path)])
    assert isinstance(found.exception, ConfigError)
    assert "https://HOST:PORT" in found.exception.message


@pytest.mark.parametrize(
    ("url", "listen", "expected"),
    [
        (URL, None, "0.0.0.0:9000"),
        ("https://fl.example.org", None, "0.0.0.0:8443"),
        (URL, "127.0.0.1:7000", "127.0.0.1:7000"),
    ],
)
def test_it_listens_at_the_port_of_its_address_unless_told_otherwise(url, listen, expected):
    assert wanted(url, listen, ()).listen == expected


@pytest.mark.parametrize("listen", ["999.1.1.1:8443", "1.2.3:8443", "[::z]:8443"])
def test_an_address_that_nobody_can_listen_on_is_refused_before_anything_is_made(tmp_path, listen):
    host = listen.rpartition(":")[0].strip("[]")
    with pytest.raises(ConfigError, match=re.escape(host)):
        init(tmp_path, listen=listen)
    assert list(tmp_path.iterdir()) == []


def test_another_address_to_listen_on_is_not_silently_ignored(tmp_path):
    assert init(tmp_path).fresh
    assert not init(tmp_path).fresh
    with pytest.raises(ConfigError, match=r"listen on 0\.0\.0\.0:9000; edit coordinator\.toml"):
        init(tmp_path, listen="127.0.0.1:9000")
