"""`agent verify` accepts honest ledgers and reports, and names what is wrong with any other."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import privacy_bench as bench
import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from agent.cli import app
from agent.policy import Policy, SecaggPolicy
from agent.report import sign
from agent.verify import Verdict, check
from shared.errors import ConfigError, EnrollmentError, StateDamaged
from shared.identity import Identity
from shared.messages import Attempt
from shared.privacy.records import START, LedgerDamaged, Record
from shared.secagg.solver import solve


@pytest.fixture
def device(tmp_path):
    made = joined_device(tmp_path)
    made.train(2)
    made.set_policy(Policy(epsilon_max=7.0))
    made.train(3, noise_multiplier=80.0)
    return made


def run(device, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(device.path)])


def report(device, tmp_path):
    """(the JSON report, its file, the page's file)."""
    page = tmp_path / "report.html"
    result = run(device, "budget", "--json", "--no-prv", "--html", str(page))
    assert result.exit_code == 0, result.output
    path = tmp_path / "report.json"
    path.write_text(result.stdout)
    return json.loads(result.stdout), path, page


def rewrite(device, change):
    """The ledger again, every body passed through `change`, chained and signed by the device."""
    lines, previous = [], START
    for line in device.ledger.read_bytes().splitlines():
        body = change(json.loads(line)["body"])
        record = Record.make(body, previous, device.home.identity())
        lines.append(record.line())
        previous = record.hash
    device.ledger.write_bytes(b"".join(lines))


def test_an_honest_ledger_and_both_forms_of_its_report_are_accepted(device, tmp_path):
    _, path, page = report(device, tmp_path)
    for arguments in ((), (str(path),), (str(page),)):
        result = run(device, "verify", *arguments)
        assert result.exit_code == 0, result.output
    assert "equals the ledger at record" in result.stdout


def test_a_report_stays_true_after_more_rounds(device, tmp_path):
    _, path, _ = report(device, tmp_path)
    device.train(1, noise_multiplier=90.0)
    assert run(device, "verify", str(path)).exit_code == 0


def test_a_report_is_checked_alone_where_its_ledger_is_not(device, tmp_path):
    _, path, _ = report(device, tmp_path)
    elsewhere = joined_device(tmp_path / "elsewhere")
    for home in (elsewhere.path, tmp_path / "nothing"):
        found = check(home, None, path)
        assert found.verdict is Verdict.OK
        assert any("its ledger is not here" in sentence for sentence in found.checked)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_changed_byte_breaks_the_chain(device, at):
    data = bytearray(device.ledger.read_bytes())
    data[int(at * len(data))] ^= 1
    device.ledger.write_bytes(data)
    result = run(device, "verify")
    assert result.exit_code == Verdict.CHAIN
    assert "ledger record" in result.stdout


def test_a_false_figure_is_named_with_its_record(device):
    def halve(body):
        if body["kind"] == "reserve" and body["round"] == 4:
            body["rdp_step"] = (float.fromhex(body["rdp_step"]) / 2).hex()
        return body

    rewrite(device, halve)
    result = run(device, "verify")
    assert result.exit_code == Verdict.ARITHMETIC
    assert re.search(r"ledger record \d+: rdp_step is", result.stdout)


def test_a_reservation_outside_the_policy_then_in_force_is_over_budget(device):
    def strict(body):
        if body["kind"] == "open":
            policy = json.loads(body["policy"]) | {"sigma_min": 70.0}
            text = Policy.model_validate(policy).to_json()
            body |= {"policy": text, "policy_hash": Policy.from_json(text).hash().hex()}
        return body

    rewrite(device, strict)
    result = run(device, "verify")
    assert result.exit_code == Verdict.OVER_BUDGET
    assert "outside the policy" in result.stdout


FALSE_REPORTS = {
    "less ε": lambda r: r.update(epsilon_spent=r["epsilon_spent"] / 2),
    "a larger budget": lambda r: r["guarantee"].update(epsilon_limit=100.0),
    "fewer steps": lambda r: r["mechanism"]["segments"][0].update(steps=1),
    "more noise": lambda r: r["mechanism"]["segments"][0].update(noise_multiplier=99.0),
    "another head": lambda r: r["integrity"].update(ledger_head="0" * 64),
    "a forgotten policy change": lambda r: r["integrity"].update(policy_changes=[]),
    "an invented delivery": lambda r: r["accounting"].update(delivered=99),
    "a smaller δ": lambda r: r["guarantee"].update(delta=1e-9),
    "nothing left out": lambda r: r.update(not_covered=[]),
    "a NaN": lambda r: r.update(share_spent="NaN"),
    "more records than there are": lambda r: r["integrity"].update(ledger_records=10**6),
    "no mechanism": lambda r: r.pop("mechanism"),
}


@pytest.mark.parametrize("name", FALSE_REPORTS)
def test_a_false_report_is_refused_even_if_the_device_signed_it(device, tmp_path, name):
    made, path, _ = report(device, tmp_path)
    FALSE_REPORTS[name](made)
    made.pop("signature")
    path.write_text(json.dumps(sign(made, device.home.identity())))
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT, result.output


def test_a_report_that_nobody_signed_is_refused(device, tmp_path):
    made, path, _ = report(device, tmp_path)
    made["signature"] = "00" * 64
    path.write_text(json.dumps(made))
    assert run(device, "verify", str(path)).exit_code == Verdict.REPORT


@pytest.mark.parametrize("text", ["", "{}", "<html></html>", "[1]", '{"kind": "other"}'])
def test_something_else_is_no_report(device, tmp_path, text):
    path = tmp_path / "something"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read as a report"):
        check(device.path, None, path)


def test_a_rolled_back_ledger_is_found_by_a_newer_report(device, tmp_path):
    copy = tmp_path / "copy.jsonl"
    shutil.copy(device.ledger, copy)
    device.train(2, noise_multiplier=90.0)
    _, path, _ = report(device, tmp_path)
    shutil.copy(copy, device.ledger)
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT
    assert "restored from a copy" in result.stdout


def test_a_device_that_never_trained_has_nothing_wrong(tmp_path):
    device = joined_device(tmp_path)
    assert run(device, "verify").exit_code == 0
    _, path, _ = report(device, tmp_path)
    assert run(device, "verify", str(path)).exit_code == 0


def test_without_home_and_report_there_is_nothing_to_check(tmp_path):
    with pytest.raises(EnrollmentError):
        check(tmp_path / "nobody", None, None)


def test_verifying_never_uses_the_bookmark(device):
    folder = device.ledger.parent
    (folder / "ledger.bookmark").write_bytes(b"x")
    assert run(device, "verify").exit_code == 0


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
        self.found += [n for n in named if n in {"src", "href", "style"} or n.startswith("on")]


def test_the_page_is_self_contained_and_lets_nothing_in_or_out(device, tmp_path):
    _, _, page = report(device, tmp_path)
    text = page.read_text()
    parser = Outside()
    parser.feed(text)
    assert parser.found == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
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
    from agent.report_page import page as render

    device = joined_device(tmp_path)
    device.train(1)
    made, _, _ = report(device, tmp_path)
    made["identity"]["tasks"][0]["id"] = "</script><script>alert(1)</script>"
    made["after_rounds"][0]["run"] = "<img src=x>"
    text = render(made)
    assert "<img" not in text
    assert "<script>alert" not in text


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


@pytest.mark.parametrize("look", ["budget", "verify"])
def test_a_data_set_that_was_never_used_is_named_and_not_shown_as_unspent(device, look):
    result = run(device, look, "--dataset", "no-such-data")
    assert isinstance(result.exception, ConfigError)
    assert "no data set named 'no-such-data' was used here; known: " in str(result.exception)


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_a_deleted_ledger_is_damage_and_never_nothing_spent(device, gone):
    device.home.advance(Attempt("run-1", 1, 1))
    if gone == "file":
        device.ledger.unlink()
    else:
        shutil.rmtree(device.ledger.parent)
    for command in (
        ("budget",),
        ("budget", "--json", "--no-prv"),
        ("budget", "plan", "--ledger", "--steps", "1"),
    ):
        result = CliRunner().invoke(app, [*command, "--home", str(device.path)])
        assert isinstance(result.exception, StateDamaged), result.output
        assert result.exception.exit_code == 65
        assert "gone" in str(result.exception)
    assert run(device, "verify").exit_code == Verdict.CHAIN
    assert not device.ledger.exists()


def signed(device, made):
    made.pop("signature", None)
    return json.dumps(sign(made, device.home.identity()))


def with_segment(name, value):
    def change(made):
        made["mechanism"]["segments"][0][name] = value

    return change


HOSTILE = {
    "steps beyond any float": with_segment("steps", 10**400),
    "σ below any float's square": with_segment("noise_multiplier", 1e-320),
    "σ of nothing": with_segment("noise_multiplier", 0),
    "q below zero": with_segment("sample_rate", -3),
    "q that is a truth value": with_segment("sample_rate", True),
    "an order beyond all": lambda r: r["guarantee"].update(alpha=10**9),
    "δ of zero": lambda r: r["guarantee"].update(delta=0),
    "a negative number of records": lambda r: r["integrity"].update(ledger_records=-1),
    "a number of records in words": lambda r: r["integrity"].update(ledger_records="all"),
    "no records": lambda r: r["integrity"].update(ledger_records=0),
    "a key that is none": lambda r: r["identity"].update(public_key="zz"),
    "a key of low order": lambda r: r["identity"].update(public_key="00" * 32),
    "a section too many": lambda r: r.update(extra={"epsilon_spent": 0}),
    "segments told twice": lambda r: r["mechanism"].update(segments=r["mechanism"]["segments"] * 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_numbers_made_to_break_the_arithmetic_are_a_false_report_and_no_bug(device, tmp_path, name):
    made, path, _ = report(device, tmp_path)
    HOSTILE[name](made)
    path.write_text(signed(device, made))
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT, (result.output, result.exception)


@pytest.mark.parametrize(
    "dataset", ["../../etc", "data/../data", "", None, 5.5, "x" * 5000, "\ud800"]
)
def test_a_data_set_that_is_no_name_never_becomes_a_path(device, tmp_path, dataset):
    made, path, _ = report(device, tmp_path)
    path.write_text(signed(device, made | {"dataset": dataset}))
    with pytest.raises(ConfigError, match="names no data set"):
        check(device.path, None, path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("{", '{"epsilon_spent": 0.0,', "a key stands twice"),
        ('"share_spent":', '"share_spent": NaN, "other":', "NaN is not a finite number"),
        ('"share_spent":', '"share_spent": -Infinity, "other":', "-Infinity is not a finite number"),
        ('"share_spent":', '"share_spent": 1e309, "other":', "1e309 is not a finite number"),
    ],
)  # fmt: skip
def test_json_that_two_readers_could_read_differently_is_no_report(device, tmp_path, old, new, why):
    made, path, page = report(device, tmp_path)
    path.write_text(json.dumps(made).replace(old, new, 1))
    with pytest.raises(ConfigError, match=why):
        check(device.path, None, path)
    before, data = page.read_text().split('id="report">')
    page.write_text(before + 'id="report">' + data.replace(old, new, 1))
    with pytest.raises(ConfigError, match=why):
        check(device.path, None, page)


def test_a_report_that_never_ends_never_begins_or_is_too_deep_is_refused_at_once(device, tmp_path):
    pipe, folder, endless = tmp_path / "pipe", tmp_path / "folder", tmp_path / "endless"
    os.mkfifo(pipe)
    folder.mkdir()
    endless.symlink_to("/dev/zero")
    for path in (pipe, folder, endless):
        with pytest.raises(ConfigError, match="cannot be read"):
            check(device.path, None, path)
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"kind":' + "9" * 100_000 + "}"):
        endless.unlink()
        endless.write_text(text)
        with pytest.raises(ConfigError, match="cannot be read as a report"):
            check(device.path, None, endless)
    with endless.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(ConfigError, match="more than 64 MB"):
        check(device.path, None, endless)


def test_a_report_of_another_key_is_never_taken_for_this_devices(device, tmp_path):
    made, path, _ = report(device, tmp_path)
    stranger = Identity.generate()
    made.pop("signature")
    path.write_text(json.dumps(sign(made, stranger)))
    assert run(device, "verify", str(path)).exit_code == Verdict.REPORT
    made["identity"]["public_key"] = stranger.public.hex()
    path.write_text(json.dumps(sign(made, stranger)))
    result = run(device, "verify", str(path))
    assert "whose key that is cannot be told here" in " ".join(result.stdout.split())
    assert "equals the ledger" not in result.stdout


def test_the_ledger_of_another_data_set_in_its_place_is_damage(device):
    other = bench.Device(
        device.home.ledger_folder / "other", identity=device.home.identity(), dataset_id="other"
    )
    with other.open() as store:
        other.spend(store, bench.proposal(1, dataset_id="other"))
    for name in ("ledger.jsonl", "ledger.bookmark"):
        shutil.copy(other.folder / name, device.ledger.parent / name)
    result = run(device, "verify")
    assert result.exit_code == Verdict.CHAIN
    assert "another data set" in " ".join(result.stdout.split())
    assert isinstance(run(device, "budget").exception, LedgerDamaged)
