"""What `agent serve` gives to rules: of a detector the boxes that are shown, not all that it could find."""

import sqlite3

import pytest
from detector_bench import package

from edgeveil.agent.cli.rules.at_work import following
from edgeveil.agent.inference.runtime import open_model


@pytest.fixture
def home(tmp_path):
    (tmp_path / "eyes.evm").write_bytes(package())
    (tmp_path / "rules.toml").write_text('[forward]\nurl = "http://127.0.0.1:9/"\n')
    (tmp_path / "rules.toml").chmod(0o600)
    return tmp_path


def waiting(home):
    return sqlite3.connect(home / "outbox/serve.db").execute("SELECT count(*) FROM waiting").fetchone()[0]  # fmt: skip


def test_boxes_below_what_is_shown_are_neither_counted_nor_forwarded(home):
    answer = {"model": "ab", "boxes": [{"label": "car", "score": score} for score in (0.9, 0.5, 0.02)]}  # fmt: skip
    with following(home, None, open_model(home / "eyes.evm"), "serve", least=0.3) as seen:
        seen([answer], "ab" * 32)
        assert waiting(home) == 2
        seen([{"model": "ab", "boxes": []}], "ab" * 32)
        assert waiting(home) == 2, "an empty picture has nothing to forward"


def test_without_rules_nothing_is_made(home):
    (home / "rules.toml").unlink()
    with following(home, None, open_model(home / "eyes.evm"), "serve") as seen:
        seen([{"label": "a", "score": 0.5}], "ab" * 32)
    assert not (home / "outbox").exists()
