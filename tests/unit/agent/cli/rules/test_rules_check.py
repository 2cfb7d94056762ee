"""`agent rules check`: what a file says, whether it fits the model, what would follow, and nothing more."""

import json

import pytest
from delivery_bench import CNN
from models_bench import pictures
from PIL import Image
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.forwarding.outbox import Bound, Entry, Outbox
from edgeveil.agent.inference.runtime import open_model

RULE = '[[rule]]\nname = "ripe"\nwhen = "label == \'{label}\' and score > 0"\ncommand = ["/usr/bin/touch", "--", "{{label}}"]\n'


@pytest.fixture
def home(tmp_path):
    Image.fromarray(pictures(1, 8, 8)[0]).save(tmp_path / "a.png")
    return tmp_path


def check(home, text, *arguments, mode=0o600):
    (home / "rules.toml").write_text(text)
    (home / "rules.toml").chmod(mode)
    return CliRunner().invoke(app, ["rules", "check", "--home", str(home), *map(str, arguments)])


def test_what_would_follow_is_said_and_does_not_happen(home, monkeypatch):
    monkeypatch.chdir(home)
    label = open_model(CNN).predict(home / "a.png")[0].label
    ended = check(home, RULE.format(label=label), "--model", CNN, "--try", home / "a.png")
    assert ended.exit_code == 0, ended.output
    assert f"{home / 'a.png'}: ripe" in ended.stdout.replace("\n", "")
    assert sorted(path.name for path in home.iterdir()) == ["a.png", "rules.toml"]


def test_as_json_each_input_has_what_follows(home):
    label = open_model(CNN).predict(home / "a.png")[0].label
    ended = check(home, RULE.format(label=label), "--model", CNN, "--try", home / "a.png", "--json")  # fmt: skip
    found = json.loads(ended.stdout)
    assert [rule["name"] for rule in found["rules"]] == ["ripe"]
    assert found["forward"] is None
    (tried,) = found["tried"]
    assert (tried["input"], tried["follows"][0]["rule"], tried["follows"][0]["label"]) == (str(home / "a.png"), "ripe", label)  # fmt: skip


def test_without_a_model_the_file_alone_is_read(home):
    ended = check(home, RULE.format(label="anything"))
    assert ended.exit_code == 0
    assert "no result is forwarded" in ended.stdout
    assert "no model is in use" in ended.stderr


@pytest.mark.parametrize(("text", "arguments", "why"), [
    (RULE.format(label="aple"), ("--model", CNN), 'did you mean "apple"'),
    (RULE.format(label="apple").replace("score", "value"), ("--model", CNN), "have no value"),
    (RULE.format(label="apple").replace("score", "scor"), (), 'did you mean "score"'),
    (RULE.format(label="apple"), ("--count", "line.toml"), "name one video"),
    (RULE.format(label="apple"), ("--try", "a.png"), "agent model get"),
])  # fmt: skip
def test_what_could_never_follow_is_refused_with_two(home, text, arguments, why):
    ended = check(home, text, *arguments)
    assert ended.exception.exit_code == 2
    assert why in str(ended.exception)


def test_a_comparison_that_no_answer_can_change_is_warned_of_where_the_model_is_known(home):
    text = RULE.format(label="apple").replace("score > 0", "score > 1.5")
    warned = "rule 'ripe': score > 1.5 is never true: score is 0 to 1"
    ended = check(home, text, "--model", CNN)
    assert ended.exit_code == 0
    assert warned in ended.stderr.replace("\n ", "").replace("  ", " ")
    assert "is never true" not in check(home, text).stderr
    assert " true" not in check(home, RULE.format(label="apple"), "--model", CNN).stderr


def test_a_file_that_others_may_write_is_refused_with_65(home):
    assert check(home, RULE.format(label="apple"), mode=0o666).exception.exit_code == 65


def test_a_token_that_is_not_there_is_told_before_it_is_needed(home):
    forward = '[forward]\nurl = "https://centre.example/"\ntoken_file = "cam-1.token"\n'
    ended = check(home, forward)
    assert ended.exception.exit_code == 65
    assert str(ended.exception).startswith(f"{home}/cam-1.token: ")
    (home / "cam-1.token").write_text("ab" * 32)
    (home / "cam-1.token").chmod(0o600)
    assert check(home, forward).exit_code == 0


def test_without_a_file_that_is_said(home):
    ended = CliRunner().invoke(app, ["rules", "check", "--home", str(home)])
    assert ended.exception.exit_code == 2
    assert "does not exist" in str(ended.exception)


def test_what_waits_is_counted_by_rule(home):
    box = Outbox(home / "home", "serve", {"rule fall": Bound(1, 100)})
    box.put([Entry("rule fall", "a", 0.0, b"{}"), Entry("rule fall", "b", 0.0, b"{}")])
    box.close()
    ended = CliRunner().invoke(app, ["rules", "status", "--home", str(home / "home"), "--json"])
    assert json.loads(ended.stdout) == {"rule fall": {"waiting": 1, "dropped": 1}}
    assert "rule fall" in CliRunner().invoke(app, ["rules", "status", "--home", str(home / "home")]).stdout  # fmt: skip
    empty = CliRunner().invoke(app, ["rules", "status", "--home", str(home / "other")])
    assert (empty.exit_code, empty.stdout) == (0, "")


def test_a_file_named_by_hand_that_is_not_there_ends_as_one_of_the_home(home):
    ended = CliRunner().invoke(app, ["rules", "check", "--rules", str(home / "no.toml")])
    assert ended.exception.exit_code == 2
    assert "no.toml: this file does not exist" in str(ended.exception)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_input_that_cannot_be_read_ends_with_65_after_the_others(home, form):
    tried = ("--model", CNN, "--try", home / "no.png", "--try", home / "a.png", *form)
    ended = check(home, RULE.format(label="apple"), *tried)
    assert ended.exit_code == 65
    assert "a.png" in ended.stdout


def test_a_program_that_is_not_there_is_warned_of(home):
    gone = RULE.format(label="apple").replace("/usr/bin/touch", "/usr/bin/no-such-program")
    ended = check(home, gone)
    assert ended.exit_code == 0
    assert "rule 'ripe': /usr/bin/no-such-program" in " ".join(ended.stderr.split())
    assert "warning" not in check(home, RULE.format(label="apple")).stderr
