"""Reports of both sides after real rounds: true, verified, complete, and refusals counted by code."""

import json
import re

import pytest
from fakes_federation import POLICY, Federation, plan_for
from typer.testing import CliRunner

from edgeveil.agent.cli import app as agent_cli
from edgeveil.agent.home.refusals import RefusalCounts, read_refusals
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.coordinator.cli import app as coordinator_cli
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.privacy.page import page
from edgeveil.coordinator.reports.privacy.report import build
from edgeveil.coordinator.reports.privacy.words import Words
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import RefusalCode, RunFailed
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.report.page import read_data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two committed rounds, then a plan that every agent refuses twice."""
    federation = Federation(tmp_path_factory.mktemp("federation"))
    for home in federation.homes:
        home.policy_path.write_text(POLICY.to_toml())
    federation.train(plan_for(4, evaluation__data=str(federation.test)))
    with pytest.raises(RunFailed):
        federation.train(plan_for(4, training__epsilon=50.0), ask=False)
    (federation.home / "coordinator.toml").write_text(
        f'url = "https://127.0.0.1:1"\nfederation_public = "{federation.federation.public.hex()}"\n'
    )
    runs = list(dict.fromkeys(record.run for record in federation.store.rounds()))
    yield federation, runs
    federation.close()


def coordinators(trained, number):
    federation, runs = trained
    run = federation.store.run(runs[number])
    return build(RunFacts(run, federation.store.rounds(run.run_id)), SystemClock())


def test_every_agents_report_is_verified_against_its_ledger(trained, tmp_path):
    federation, _ = trained
    for number, home in enumerate(federation.homes):
        page = tmp_path / f"{number}.html"
        flags = ["budget", "--no-prv", "--html", str(page), "--home", str(home.path)]
        assert CliRunner().invoke(agent_cli.app, flags).exit_code == 0
        found = check(home.path, None, page)
        assert found.verdict is Verdict.OK, found.faults


def test_refusals_are_counted_by_code_on_both_sides(trained):
    federation, _ = trained
    for home in federation.homes:
        found = read_refusals(home.path)
        assert found["POLICY_SIGMA"]["count"] == 2
        assert "round 1 attempt 2" in found["POLICY_SIGMA"]["last"]
    assert coordinators(trained, 1)["refusals"] == {"POLICY_SIGMA": 8}
    assert coordinators(trained, 0)["refusals"] == {}


def test_the_coordinator_states_the_most_that_its_run_can_have_cost(trained):
    federation, _ = trained
    found = coordinators(trained, 0)
    proposal = found["mechanism"]
    segment = Segment(proposal["noise_multiplier"], 1.0, 2 * proposal["steps_per_round"])
    assert found["guarantee"]["epsilon_at_most"] == epsilon([segment], 1e-5)[0]
    spent = max(read_budget(home.path).epsilon_spent for home in federation.homes)
    assert found["guarantee"]["epsilon_at_most"] == pytest.approx(spent)
    enforced = max(read_budget(home.path).epsilon_enforced for home in federation.homes)
    assert found["guarantee"]["epsilon_enforced"] == pytest.approx(enforced)
    assert found["guarantee"]["epsilon_enforced"] >= spent
    assert found["accounting"]["within_epsilon_planned"]
    untrained = coordinators(trained, 1)["guarantee"]
    assert untrained["epsilon_at_most"] == untrained["epsilon_enforced"] == 0


def test_the_coordinators_report_has_every_field(trained):
    found = coordinators(trained, 0)
    fields = {
        "identity": ("task", "plan_sha256", "proposal_sha256", "software", "time"),
        "guarantee": (
            "epsilon_planned", "epsilon_at_most", "epsilon_median", "epsilon_attested", "delta",
            "delta_why", "sums_only", "curve", "in_words", "epsilon_left", "share_spent", "best_order",
            "gaussian_mu", "rounds_left", "epsilon_enforced", "alpha", "epsilon_prv",
        ),
        "privacy_unit": ("unit", "neighbours", "person_level", "treated_as_public"),
        "trust_model": ("coordinator_sees", "secure_aggregation"),
        "mechanism": (
            "noise_multiplier", "sample_rate", "steps_per_round", "clip_norm", "optimizer", "sampling",
            "gradient_mode", "noise_generator", "arithmetic", "empty_draws",
        ),
        "accounting": ("accountant", "composition", "orders", "attempts_aborted"),
        "agents": ("asked", "epsilon_at_most", "epsilon_median", "refused_for_budget"),
        "utility": ("metrics_mode", "metrics_charge", "scores", "sentence"),
    }  # fmt: skip
    for section, names in fields.items():
        assert set(names) <= set(found[section]), section
    assert re.fullmatch(r"[0-9a-f]{64}", found["identity"]["task"]["hash"])
    assert {"threshold", "honest_floor"} <= set(found["trust_model"]["secure_aggregation"])
    spent, left = found["guarantee"]["epsilon_at_most"], found["guarantee"]["epsilon_left"]
    assert spent + left == pytest.approx(found["guarantee"]["epsilon_planned"])
    assert [row["in_the_sum"] for row in found["rounds"]] == [4, 4]
    (counted,) = [gap for gap in found["not_covered"] if "n_ref=N" in gap]
    assert "ε 0.1 or less" in counted
    assert Words("zh").again(counted) == Words("zh")("said_counted") != counted


def test_the_command_prints_writes_and_agrees_with_its_page(trained, tmp_path):
    federation, runs = trained
    page = tmp_path / "privacy.html"
    common = ["privacy", runs[0], "--home", str(federation.home)]
    result = CliRunner().invoke(coordinator_cli.app, [*common, "--json", "--html", str(page)])
    assert result.exit_code == 0, result.output
    printed, text = json.loads(result.stdout), page.read_text()
    assert read_data(text)["guarantee"] == printed["guarantee"]
    assert "default-src &#x27;none&#x27;" in text
    assert "What is NOT covered" in text
    table = CliRunner().invoke(coordinator_cli.app, common)
    assert "not told by any agent" in table.stdout


def test_one_step_per_round_is_told_what_sums_alone_show(tmp_path):
    federation = Federation(tmp_path)
    try:
        federation.train(plan_for(4, training__steps=1))
        run = federation.store.last_run()
        found = build(RunFacts(run, federation.store.rounds(run.run_id)), SystemClock())
    finally:
        federation.close()
    assert found["guarantee"]["sums_only"]["epsilon"] < found["guarantee"]["epsilon_at_most"] / 1.5


def test_what_devices_tell_of_their_budgets_stands_beside_the_coordinators_own_bound(tmp_path):
    """Two of four owners let it be told; both have trained for another run before."""
    federation = Federation(tmp_path)
    for number in (0, 1):
        federation.tell(federation.homes[number])
    try:
        for clip in (0.3, 0.2):
            plan = plan_for(4, training__clip_norm=clip, training__epsilon=3.0)
            federation.train(plan)
        run, store = federation.store.last_run(), federation.store
        facts = RunFacts(run, store.rounds(run.run_id), store.told_budgets())
        found = build(facts, SystemClock())
        spent = {h.pinned().name: read_budget(h.path).epsilon_enforced for h in federation.homes}
    finally:
        federation.close()
    attested = found["guarantee"]["epsilon_attested"]
    assert {name: b["epsilon"] for name, b in attested["by_agent"].items()} == {
        name: spent[name] for name in ("agent-1", "agent-2")
    }
    assert attested["agents_that_do_not_tell"] == 2
    assert attested["max"] > found["guarantee"]["epsilon_at_most"], "over all runs, not this one"
    for html, places in ((page(found), 4), (report_page(facts, "en", made=1.0), 3)):
        text = re.sub(r"<script.*", "", html, flags=re.DOTALL)
        assert f"{spent['agent-1']:.{places}f}" in text
        assert text.count("not told") == 2


def test_refusals_survive_a_restart_and_a_damaged_file_is_no_obstacle(tmp_path):
    for _ in range(2):
        RefusalCounts(tmp_path).note(RefusalCode.ROUND_REPLAY, where="here", now=5.0)
    assert read_refusals(tmp_path)["ROUND_REPLAY"] == {"count": 2, "last": "here", "time": 5}
    for text in ("damaged", "[]", '{"NOT_A_CODE": {}}', '{"STATE": 3}'):
        (tmp_path / "refusals.json").write_text(text)
        assert read_refusals(tmp_path) == {}
        RefusalCounts(tmp_path).note(RefusalCode.STATE, where="there", now=6.0)
        assert read_refusals(tmp_path)["STATE"]["count"] == 1
