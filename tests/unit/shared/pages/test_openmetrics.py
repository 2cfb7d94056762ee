"""Names, labels and text format of the metrics; the dashboard and the alert rules that use them."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.coordinator.gateway.counts import Counts, route_of
from edgeveil.coordinator.gateway.vocabulary import Reason
from edgeveil.coordinator.watching.metrics import Metrics, Readings
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.pages.openmetrics import MOST_SERIES, Registry

MONITORING = Path(__file__).resolve().parents[4] / "deploy/monitoring"
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"\n]*",?)*)\})? (-?[0-9.e+]+|NaN)')
COORDINATOR = {
    "edgeveil_rounds", "edgeveil_round_duration_seconds", "edgeveil_stage_duration_seconds", "edgeveil_agents",
    "edgeveil_dropouts", "edgeveil_rejected_requests", "edgeveil_bytes", "edgeveil_requests",
    "edgeveil_database_commit_seconds", "edgeveil_refusals", "edgeveil_superlink_restarts", "edgeveil_superlink_up",
    "edgeveil_certificate_expiry_seconds", "edgeveil_roster_expiry_seconds", "edgeveil_build",
}  # fmt: skip
AGENT = {  # a ledger and its budget are on a device alone
    "edgeveil_ledger_fsync_seconds", "edgeveil_privacy_epsilon_spent", "edgeveil_privacy_epsilon_limit",
    "edgeveil_refusals", "edgeveil_bytes", "edgeveil_build",
}  # fmt: skip
DOCUMENT = Path(__file__).resolve().parents[4].joinpath("docs", "operating.md")


def readings():
    counts = Counts(Counter({("pull-messages", 200): 7}), Counter({("join", "rate"): 2}), 10, 20)
    return Readings({"enrolled": 4, "connected": 3, "in_round": 2}, 3, True, 86_400.4, None, counts)


def exercised():
    metrics = Metrics(readings)

    def say(event, level="info", **fields):
        metrics.take(EventLine(1.0, level, event.value, run="run-1", round=1, attempt=1, **fields))

    say(Event.SUPERLINK_START)
    say(Event.SUPERLINK_START)
    say(Event.STAGE_FINISH, stage="round", dur_ms=1500)
    say(Event.AGENT_DROP, stage="round", agent="cam-1", reason="refused:POLICY_SIGMA")
    say(Event.AGENT_DROP, stage="share", agent="cam-2", reason="deadline")
    say(Event.ROUND_COMMIT, dur_ms=2500)
    say(Event.ROUND_ABORT, level="alarm", reason="COHORT_TOO_SMALL")
    metrics.committed(0.004)
    return metrics.render()


def of_a_device(spent=0.0):
    own = SimpleNamespace(
        budget=SimpleNamespace(epsilon_spent=spent, epsilon_limit=8.0),
        refusals={"POLICY_SIGMA": {"count": 3}},
        journal=[EventLine(1.0, "info", "reply.send", stage="masked", size=100)],
    )
    metrics = OwnMetrics()
    metrics.took(0.004)
    metrics.took(0.3)
    return metrics.render(own)


def families(text):
    return {
        line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")
    }


def test_every_promised_name_is_there_and_ends_are_right():
    for text, promised in ((exercised(), COORDINATOR), (of_a_device(), AGENT)):
        assert set(families(text)) >= promised
        assert text.endswith("# EOF\n")


def test_the_document_names_every_metric_that_is_exposed_and_no_other():
    """With its suffix, as Prometheus stores it; an info metric by its full name."""
    part = DOCUMENT.read_text(encoding="utf-8").partition("## Metrics\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(edgeveil_[a-z_]+)`", part))
    suffix = {"counter": "_total", "info": "_info"}
    exposed = {**families(exercised()), **families(of_a_device())}
    assert named == {name + suffix.get(kind, "") for name, kind in exposed.items()}


def test_every_line_is_a_sample_of_a_family_declared_before_it():
    known = {}
    for line in exercised().splitlines():
        if line.startswith("# TYPE"):
            known[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            name, _, _ = SAMPLE.fullmatch(line).groups()
            family = max((f for f in known if name.startswith(f)), key=len)
            suffix = name.removeprefix(family)
            allowed = {"counter": {"_total"}, "gauge": {""}, "info": {"_info"},
                       "histogram": {"_bucket", "_count", "_sum"}}  # fmt: skip
            assert suffix in allowed[known[family]], line


def test_what_happened_is_counted():
    text = exercised()
    for line in (
        'edgeveil_rounds_total{outcome="committed"} 1',
        'edgeveil_rounds_total{outcome="aborted"} 1',
        'edgeveil_dropouts_total{reason="refused",stage="round"} 1',
        'edgeveil_dropouts_total{reason="deadline",stage="share"} 1',
        'edgeveil_refusals_total{code="POLICY_SIGMA"} 1',
        'edgeveil_stage_duration_seconds_bucket{stage="round",le="1"} 0',
        'edgeveil_stage_duration_seconds_bucket{stage="round",le="2.5"} 1',
        "edgeveil_round_duration_seconds_sum 2.5",
        "edgeveil_superlink_restarts_total 1",
        'edgeveil_database_commit_seconds_bucket{le="0.005"} 1',
        'edgeveil_agents{state="connected"} 3',
        "edgeveil_certificate_expiry_seconds 86400",
        'edgeveil_rejected_requests_total{reason="rate",route="join"} 2',
        'edgeveil_bytes_total{direction="up"} 10',
        "edgeveil_alarms_total 1",
    ):
        assert line in text.splitlines(), line
    assert not re.search(r"^edgeveil_roster_expiry_seconds ", text, re.MULTILINE), "there is none"


def test_an_epsilon_that_nothing_limits_is_infinite_in_the_formats_own_spelling():
    registry = Registry("edgeveil_")
    registry.gauge("privacy_epsilon_spent", "Of this data set's ledger.").set(math.inf)
    assert "edgeveil_privacy_epsilon_spent +Inf\n" in registry.render()


def test_no_agent_is_ever_a_label():
    assert "cam-" not in exercised()


def test_a_label_that_grows_without_end_is_cut_off():
    registry = Registry("x_")
    counter = registry.counter("c", 'a "quoted"\nhelp')
    for number in range(MOST_SERIES + 50):
        counter.add(name=f"n{number}")
    counter.add(name='q"\\\n')
    text = registry.render()
    assert text.count("x_c_total{") == MOST_SERIES
    assert '# HELP x_c a \\"quoted\\"\\nhelp' in text


def test_a_path_nobody_serves_is_not_a_label():
    assert route_of("/v1/join") == "join"
    assert route_of("/../../etc/passwd\n") == "other"
    counts = Counts()
    counts.refused("/x", Reason.NOT_FOUND, 404)
    assert counts.by_reason() == {"not_found": 1}


def names_used(expression):
    return set(re.findall(r"edgeveil_[a-z_]+", expression))


def exposed():
    """Every sample name that a coordinator or an agent can expose."""
    found = set()
    ends = {"counter": ["_total"], "info": ["_info"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}  # fmt: skip
    for name, kind in families(exercised()).items():
        found |= {name + end for end in ends[kind]}
    return found | {"edgeveil_privacy_epsilon_spent", "edgeveil_privacy_epsilon_limit"}


def test_every_alert_rule_can_be_read_and_uses_what_exists():
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "action"}
        used = names_used(rule["expr"])
        assert used, rule["alert"]
        assert used <= exposed(), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
    told = " ".join(rule["alert"] for rule in rules)
    for subject in ("RoundsFailing", "BudgetNearlySpent", "CertificateExpiring", "AgentsMissing"):
        assert subject in told


def test_reasons_in_alert_rules_are_reasons_of_the_gateway():
    text = (MONITORING / "alerts.yml").read_text()
    (listed,) = re.findall(r'reason=~"([a-z|_]+)"', text)
    assert set(listed.split("|")) <= {reason.value for reason in Reason}


def test_the_dashboard_can_be_read_and_uses_what_exists():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 10
    for panel in panels:
        for target in panel["targets"]:
            used = names_used(target["expr"])
            assert used, panel["title"]
            assert used <= exposed(), panel["title"]


def test_the_scrape_configuration_can_be_read():
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert {job["job_name"] for job in config["scrape_configs"]} == {"edgeveil-coordinator", "edgeveil-agent"}  # fmt: skip
    assert config["rule_files"] == ["alerts.yml"]


@pytest.mark.parametrize("spent", [0.0, 7.5])
def test_a_device_exposes_its_own_budget(spent):
    text = of_a_device(spent)
    assert f"edgeveil_privacy_epsilon_spent {spent or 0}" in text
    assert "edgeveil_privacy_epsilon_limit 8" in text
    assert 'edgeveil_refusals_total{code="POLICY_SIGMA"} 3' in text
    assert 'edgeveil_bytes_total{direction="up"} 100' in text
    assert 'edgeveil_ledger_fsync_seconds_bucket{le="0.005"} 1' in text
    assert "edgeveil_ledger_fsync_seconds_count 2" in text
