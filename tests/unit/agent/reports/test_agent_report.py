"""What a privacy report holds, and its page: self-contained, for people, and nobody's markup."""

import html
import re
from html.parser import HTMLParser

import pytest
import report_bench
from privacy_bench import FrozenClock
from report_bench import joined_device, report, run

from edgeveil.agent.home.policy import Policy, SecaggPolicy
from edgeveil.agent.reports.audited import keep
from edgeveil.agent.reports.verify import check
from edgeveil.shared.secagg.primitives.solver import solve


@pytest.fixture
def device(tmp_path):
    return report_bench.trained_device(tmp_path)


class Outside(HTMLParser):
    """Everything in a page that could load, run or send something."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.open = []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.open.append(tag)
        if tag in {"img", "link", "iframe", "object", "embed", "form", "video", "audio"}:
            self.found.append(tag)
        if tag == "script" and named.get("type") != "application/json":
            self.found.append(tag)
        self.found += [n for n in named if n in {"src", "style"} or n.startswith("on")]
        self.found += [n for n in named if n == "href" and not named[n].startswith("#")]


def test_the_page_is_self_contained_and_lets_nothing_in_or_out(device, tmp_path):
    _, _, page = report(device, tmp_path)
    text = page.read_text()
    parser = Outside()
    parser.feed(text)
    assert parser.found == []
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1])
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"https?://", text)
    assert page.stat().st_mode & 0o077 == 0


def test_the_first_page_speaks_to_people(device, tmp_path):
    _, _, page = report(device, tmp_path)
    first = page.read_text().split("The figures behind it")[0]
    for words in (
        "privacy budget is used",
        "right 50 times in 100",
        "What is NOT covered",
        "Who sees",
    ):
        assert words in first
    assert "<svg" in first


@pytest.mark.parametrize(("rounds", "drawn"), [(1, False), (40, True)])
def test_the_caption_speaks_of_a_dashed_line_only_where_there_is_one(tmp_path, rounds, drawn):
    device = joined_device(tmp_path)
    device.train(rounds, noise_multiplier=14.0)
    _, _, page = report(device, tmp_path)
    text = page.read_text()
    assert ('class="ahead"' in text) is drawn
    assert ("dashed line shows" in text) is drawn
    assert "left at the newest plan" in text


def test_names_cannot_become_markup(tmp_path):
    from edgeveil.agent.reports.report_page import page as render

    device = joined_device(tmp_path)
    device.train(1)
    made, _, _ = report(device, tmp_path)
    made["identity"]["tasks"][0]["id"] = "</script><script>alert(1)</script>"
    made["after_rounds"][0]["run"] = "<img src=x>"
    text = render(made)
    assert "<img" not in text
    assert "<script>alert" not in text


AUDIT = {
    "passed": True, "task": "feature-head", "canaries": 6000, "confidence": 0.95,
    "near": [
        {"epsilon_claimed": 3.0, "epsilon_lower_bound": 2.52, "epsilon_gaussian": 2.76, "why": []},
    ],
}  # fmt: skip


def test_the_newest_audit_stands_beside_the_claim_and_the_report_still_equals_the_ledger(
    device, tmp_path
):
    unread, _, page = report(device, tmp_path)
    assert unread["mechanism"]["audit"] is None
    assert "was not attacked yet" in page.read_text()
    keep(device.path, AUDIT, FrozenClock())
    made, file, page = report(device, tmp_path)
    assert made["mechanism"]["audit"]["near"][0]["epsilon_lower_bound"] == 2.52
    assert re.search(r"2\.52.*2\.76.*91%", page.read_text())
    assert check(device.path, None, file).faults == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"near": "x"}', "\u00e9" * 9, '{"a": ' * 50_000], ids=range(6)
)
def test_an_audit_that_cannot_be_read_is_none(device, tmp_path, text):
    (device.path / "audit.json").write_text(text)
    made, _, _ = report(device, tmp_path)
    assert made["mechanism"]["audit"] is None


def test_a_failed_audit_warns_on_the_page(device, tmp_path):
    near = [{**AUDIT["near"][0], "epsilon_lower_bound": None, "why": ["too little noise"]}]
    keep(device.path, {**AUDIT, "passed": False, "near": near}, FrozenClock())
    _, _, page = report(device, tmp_path)
    text = page.read_text()
    assert "do not train with this installation" in text
    assert "too little noise" in text


EVERY_FIELD = {
    "identity": ("agent", "dataset", "tasks", "software", "time"),
    "guarantee": (
        "epsilon_spent", "epsilon_enforced", "epsilon_prv", "delta", "delta_why", "gaussian_mu",
        "alpha", "best_order", "epsilon_limit", "epsilon_left", "share_spent", "curve", "rounds_left",
        "epsilon_since_opening", "rdp_spent", "cap", "in_words",
    ),
    "privacy_unit": ("unit", "neighbours", "records_per_person", "person_level", "treated_as_public"),
    "trust_model": (
        "coordinator_sees", "other_agents_see", "users_of_the_model_see", "secure_aggregation",
    ),
    "mechanism": (
        "segments", "gradient_modes", "sampling", "sampling_self_test", "noise_generator",
        "arithmetic", "empty_draws",
    ),
    "accounting": (
        "accountant", "version", "composition", "orders", "prv_eps_error", "cross_check",
        "fate_unknown", "never_finished",
    ),
    "integrity": (
        "ledger_head", "ledger_records", "ledger_signature", "previous_report_sha256", "refusals",
        "resets",
    ),
    "utility": ("metrics_mode", "metrics_charge", "scores", "sentence"),
}  # fmt: skip
IN_A_SEGMENT = (
    "noise_multiplier", "sample_rate", "steps", "rounds", "steps_per_round", "clip_norms", "optimizers",
    "epsilon_alone",
)  # fmt: skip


def test_a_report_has_every_field_and_names_the_one_before_it(device, tmp_path):
    first, _, _ = report(device, tmp_path)
    second, _, _ = report(device, tmp_path)
    assert first["integrity"]["previous_report_sha256"] is None
    assert re.fullmatch(r"[0-9a-f]{64}", second["integrity"]["previous_report_sha256"])
    for section, names in EVERY_FIELD.items():
        assert set(names) <= set(second[section]), section
    secagg = second["trust_model"]["secure_aggregation"]
    assert {"n_min", "threshold", "assumed_colluders", "honest_floor"} <= set(secagg)
    assert set(IN_A_SEGMENT) <= set(second["mechanism"]["segments"][0])
    assert {"id", "version", "hash"} <= set(second["identity"]["tasks"][0])
    gaps = " ".join(second["not_covered"])
    for gap in ("hyper-param", "preprocessing", "model", "validation", "How many records", "takes part",
                "how long", "pretrained", "outside this ledger"):  # fmt: skip
        assert gap in gaps
    assert len(second["after_rounds"]) == second["rounds"] == 5
    assert second["after_rounds"][-1]["epsilon_spent"] == pytest.approx(second["epsilon_spent"])
    assert [p["share_spent"] for p in second["guarantee"]["curve"]] == sorted(
        p["share_spent"] for p in second["guarantee"]["curve"]
    )


def test_a_reset_stays_visible_in_the_report(device, tmp_path):
    with device.device.open() as store:
        store.reset("owner")
    made, path, _ = report(device, tmp_path)
    assert made["epsilon_spent"] == 0
    assert len(made["integrity"]["resets"]) == 1
    assert "count anew" in made["not_covered"][0]
    assert run(device, "verify", str(path)).exit_code == 0


def test_the_trust_model_follows_the_policy_in_force(tmp_path):
    device = joined_device(tmp_path, Policy(secagg=SecaggPolicy(n_min=10, gamma_ppm=200_000)))
    device.train(1)
    made, _, _ = report(device, tmp_path)
    secagg = made["trust_model"]["secure_aggregation"]
    assert (secagg["n_min"], secagg["assumed_colluders"], secagg["honest_floor"]) == (10, 2, 8)
    assert secagg["threshold"] == solve(10, 200_000, 100_000, sigma=80, eta=20, c_min=1).t
