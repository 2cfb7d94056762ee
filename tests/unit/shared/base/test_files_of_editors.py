"""Text files as the editors and shells of other systems write them."""

import codecs
import io
import json
from pathlib import Path

import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.budget_plan import start_from
from edgeveil.agent.reports.report import KIND
from edgeveil.agent.reports.verify import read_report
from edgeveil.agent.rounds.run import read_token
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.config import read_toml
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import read_text
from edgeveil.shared.wire.tokens import Token

SAMPLES = Path(__file__).resolve().parents[4] / "deploy/samples"
TOKEN = Token("https://a.example:1", bytes(16), bytes(16), bytes(16), bytes(16), 1, "a")
FORMS = {
    "plain": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little end first": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}
EACH = pytest.mark.parametrize("written", FORMS.values(), ids=FORMS)


@EACH
def test_plans_and_policies_are_read_however_an_editor_marked_them(written, tmp_path):
    for name, load in (("plan-advanced", load_plan), ("policy-advanced", Policy.load)):
        text = (SAMPLES / f"{name}.toml").read_text()
        path = tmp_path / f"{name}.toml"
        path.write_bytes(written(text))
        assert load(path) == load(SAMPLES / f"{name}.toml")


@EACH
def test_tokens_reports_and_histories_are_read_however_a_shell_wrote_them(written, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(written(TOKEN.encode() + "\r\n"))
    assert read_token(f"@{path}") == TOKEN
    report = {"kind": KIND, "dataset": "data"}
    path.write_bytes(written(json.dumps([[1.0, 0.5, 3]])))
    assert start_from(path, 1.0, 1e-5).history[0].steps == 3
    path.write_bytes(written(json.dumps(report)))
    assert read_report(path) == report


def test_a_token_that_comes_through_a_pipe_may_have_a_mark(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeff" + TOKEN.encode() + "\n"))
    assert read_token("-") == TOKEN


def test_what_is_no_text_is_refused_with_its_name(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a = '\xff'")
    for read in (read_text, read_toml):
        with pytest.raises(ConfigError, match="file: cannot be read"):
            read(path)
