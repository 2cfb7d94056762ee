"""`agent policy show|set`: only the owner, only here, and every change in the ledger."""

import json

import privacy_bench as bench
import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.cli.policy_commands import apply, prepare
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.shared.base.errors import Busy, ConfigError
from edgeveil.shared.privacy.ledger.records import Kind


@pytest.fixture
def device(tmp_path):
    made = joined_device(tmp_path)
    made.train(1)
    return made


def run(device, *arguments, **options):
    return CliRunner().invoke(app, ["policy", *arguments, "--home", str(device.path)], **options)


def changes(device):
    found = ledger_records(device.ledger.parent, device.home.identity().public)
    return [record.text("note_code") for record in found if record.kind is Kind.POLICY]


def test_the_policy_is_shown_with_what_the_ledger_chained(device):
    found = json.loads(run(device, "show", "--json").stdout)
    assert found["policy"]["epsilon_max"] == 8.0
    assert found["ledgers"][0]["same"]
    text = run(device, "show")
    assert "epsilon_max = 8.0" in text.stdout
    assert "chained in the ledger of data" in text.stderr


def test_a_file_loosened_by_hand_is_shown_as_not_counting(device):
    device.home.policy_path.write_text(Policy(epsilon_max=20.0).to_toml())
    assert "allows more in: epsilon_max" in run(device, "show").stderr


def test_tightening_needs_no_word_and_is_chained(device):
    result = run(device, "set", "epsilon_max=7", "secagg.n_min=4", "clip_norm.most=2.5")
    assert result.exit_code == 0, result.output
    policy = Policy.load(device.home.policy_path)
    assert (policy.epsilon_max, policy.secagg.n_min, policy.clip_norm.most) == (7.0, 4, 2.5)
    assert changes(device) == ["tightened"]


def test_loosening_without_the_owners_word_changes_nothing(device):
    before = device.home.policy_path.read_bytes()
    result = run(device, "set", "epsilon_max=9")
    assert isinstance(result.exception, ConfigError)
    assert "epsilon_max" in str(result.exception)
    assert "--yes" in str(result.exception)
    assert device.home.policy_path.read_bytes() == before
    assert changes(device) == []


def test_loosening_with_the_owners_word_is_itself_a_record(device):
    assert run(device, "set", "epsilon_max=9", "--yes").exit_code == 0
    assert changes(device) == ["loosened"]
    device.set_policy(Policy.load(device.home.policy_path))
    with device.device.open() as store:
        assert store.state.epsilon_max == 9.0


def test_the_old_value_of_the_ledger_counts_not_that_of_an_edited_file(device):
    """Loosen by hand first, then "tighten" a little: still looser than what was agreed."""
    device.home.policy_path.write_text(Policy(epsilon_max=20.0).to_toml())
    assert prepare(device.path, ["epsilon_max=19"]).looser == ("epsilon_max",)


def test_a_running_agent_has_to_be_stopped_first(device):
    before = device.home.policy_path.read_bytes()
    with device.home.lock(), pytest.raises(Busy):
        apply(
            device.path,
            prepare(device.path, ["epsilon_max=7"]),
            bench.FrozenClock(),
            accept_looser=False,
        )
    assert device.home.policy_path.read_bytes() == before
    assert changes(device) == []


def test_before_the_first_round_only_the_file_changes(tmp_path):
    device = joined_device(tmp_path)
    result = run(device, "set", "epsilon_max=9", "--yes")
    assert result.exit_code == 0
    assert Policy.load(device.home.policy_path).epsilon_max == 9.0
    assert not device.ledger.exists()


def test_lists_tables_words_and_defaults(device):
    rule = '[{ id = "feature-head", version = "1.0.0" }]'
    assert run(device, "set", f"tasks={rule}", "metrics=none", "n_ref=500").exit_code == 0
    policy = Policy.load(device.home.policy_path)
    assert policy.tasks[0].id == "feature-head"
    assert policy.n_ref == 500


def test_whoever_declares_another_size_too_late_is_told_that_the_ledger_keeps_its_own(device):
    told = "data: policy.toml declares n_ref = 500; this data set counts as 1000 records"
    assert told in run(device, "set", "n_ref=500").stderr.replace("\n", " ")
    assert "n_ref =" not in run(device, "set", "n_ref=1000").stderr
    assert run(device, "set", "n_ref=").exit_code == 0
    assert Policy.load(device.home.policy_path).n_ref is None


@pytest.mark.parametrize(
    "text",
    [
        "epsilon_max",
        "epsilon_max=much",
        "epsilon_max=-1",
        "epsilon_max=nan",
        "unknown=1",
        "delta.x=1",
        "dp_required=maybe",
        "secagg_required=false",
        "secagg.n_min=1",
        "metrics=all",
        "delta=0.01",
        "=1",
    ],
)
def test_what_makes_no_policy_is_refused_and_changes_nothing(device, text):
    before = device.home.policy_path.read_bytes()
    result = run(device, "set", text, "--yes")
    assert isinstance(result.exception, ConfigError), result.output
    assert device.home.policy_path.read_bytes() == before
    assert changes(device) == []


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("epsilon_max=1e309", "epsilon_max"),
        ("epsilon_max=nan", "epsilon_max"),
        ("epsilon_max=-0.0", "epsilon_max"),
        ("q_max=1e-400", "q_max"),
        ("steps_max=true", "steps_max"),
        ("epsilon_max=8\nsigma_min=0.01", "more than one value"),
        ("epsilon_max=7\n[secagg]\nn_min=3", "more than one value"),
        ("epsilon_max=" + "9" * 5000, "not a TOML value"),
        ("epsilon_max=" + "[" * 5000, "not a TOML value"),
        ('"epsilon_max"=9', "write KEY=VALUE"),
        ("EPSILON_MAX=9", "write KEY=VALUE"),
        ("secagg.n_min.x=2", "write KEY=VALUE"),
        ("unknown=1", "unknown"),
        ("secagg.unknown=1", "secagg.unknown"),
        ("secagg=1", "secagg"),
        ("dp_required=0", "dp_required"),
        ('without_noise_for=["me"]', "without_noise_for"),
        ("metrics=dp", "metrics"),
    ],
)
def test_a_spelling_made_to_slip_through_changes_nothing_even_with_the_owners_word(
    device, assignment, why
):
    before, ledger = device.home.policy_path.read_bytes(), device.ledger.read_bytes()
    result = run(device, "set", assignment, "--yes")
    assert isinstance(result.exception, ConfigError), result.output
    assert why in str(result.exception)
    assert (device.home.policy_path.read_bytes(), device.ledger.read_bytes()) == (before, ledger)


@pytest.mark.parametrize(
    "assignments",
    [
        ("epsilon_max=8.000000000000002",),
        ("epsilon_max=0x9",),
        ("epsilon_max= 9 # only a little",),
        ("epsilon_max=7", "epsilon_max=9"),
        ("coordinators=[]",),
        ("clip_norm={least=0.0001,most=1e300}",),
        ("secagg.allow_two=true",),
    ],
)
def test_no_spelling_of_a_looser_value_is_taken_without_the_owners_word(device, assignments):
    result = run(device, "set", *assignments)
    assert isinstance(result.exception, ConfigError), result.output
    assert "allows more than before" in str(result.exception)
    assert changes(device) == []


@pytest.mark.parametrize(
    "text",
    [
        "epsilon_max = 9.0",
        "# epsilon_max = 8.0\nepsilon_max = 9.0",
        "delta = 1e-5\nepsilon_max = 0x9",
        "epsilon_max = 8.000000000000002",
    ],
)
def test_a_file_loosened_by_hand_does_not_open_the_ledger(device, text):
    before = device.ledger.read_bytes()
    device.home.policy_path.write_text(text)
    with pytest.raises(ConfigError, match="allows more than the policy chained"):
        device.device.open(policy=Policy.load(device.home.policy_path))
    assert device.ledger.read_bytes() == before


@pytest.mark.parametrize("text", ["epsilon_max = " + "9" * 5000, "tasks = " + "[" * 5000])
def test_a_file_that_breaks_the_parser_is_a_configuration_error(device, text):
    device.home.policy_path.write_text(text)
    assert isinstance(run(device, "show").exception, ConfigError)


def test_what_changes_no_ledger_is_not_said_to_be_recorded(device):
    result = run(device, "set", "epsilon_max=8.0")
    assert result.exit_code == 0
    assert "Changed: nothing" in result.stderr
    assert "Recorded" not in result.stderr
