"""A run without noise, on every page, in every table and in every file that leaves its coordinator."""

import json

import pytest
from look_bench import run
from models_bench import trained

from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.plan.plan import WITHOUT_NOISE
from edgeveil.coordinator.reports.exports.points import points, settings
from edgeveil.coordinator.reports.privacy.report import build
from edgeveil.coordinator.reports.reading import run_facts
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.models.package import read_package

OPTIONS = {"classes": 3, "height": 8, "width": 8, "variant": "linear"}
ASKED = {
    "training__privacy": "none",
    "training__epsilon": None,
    "training__learning_rate": 0.01,
    "training__optimizer": "adamw",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, home, run id)."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, *trained(folder, "image-classification", asked=ASKED, **OPTIONS)


def test_every_look_at_it_says_that_nothing_limits_epsilon(made):
    _, home, run_id = made
    for words in (["privacy"], ["report"], ["models"], ["top", "--once"]):
        found = run(home, *words)
        assert found.returncode == 0, found.stderr
        assert {"not", "limited"} <= set(found.stdout.split()), words
    assert run(home, "compare", run_id, run_id).returncode == 0


def test_json_has_null_where_there_is_no_number(made):
    _, home, _ = made
    told = json.loads(run(home, "privacy", "--json").stdout)
    guarantee = told["guarantee"]
    assert guarantee["limited"] is False
    for name in ("epsilon_planned", "epsilon_at_most", "epsilon_median", "epsilon_enforced"):
        assert guarantee[name] is None
    assert guarantee["share_spent"] == 1.0
    assert "without noise" in told["not_covered"][0]
    assert told["mechanism"]["noise_multiplier"] == 0.0
    report = json.loads(run(home, "report", "--json").stdout)["privacy"]
    assert (report["limited"], report["epsilon_planned"]) == (False, None)
    assert json.loads(run(home, "models", "--json").stdout)[0]["epsilon_at_most"] is None
    top = json.loads(run(home, "top", "--once", "--json").stdout)
    assert top["epsilon_limit"] is None
    assert set(top["epsilon_charged"].values()) == {None}


@pytest.mark.parametrize(("language", "said"), [("en", "not limited"), ("zh", "不受限制")])
def test_its_pages_say_so_in_each_language(made, language, said):
    folder, home, _ = made
    for words in ("privacy", "report"):
        page = folder / f"{words}-{language}.html"
        found = run(home, words, "--html", str(page), "--lang", language)
        assert found.returncode == 0, found.stderr
        text = page.read_text()
        assert said in text.partition("<main")[2][:4000]
        assert "ε inf" not in text


def test_its_package_promises_nothing(made):
    folder, home, run_id = made
    export(home, run_id, None, folder / "plain.evm")
    told = read_package(folder / "plain.evm").manifest.privacy
    assert told.epsilon_at_most is told.epsilon_planned is None
    assert told.noise_multiplier == 0.0
    assert told.mechanism.startswith("none: trained without noise")
    with pytest.raises(ValueError, match="no epsilon is limited"):
        type(told).model_validate({**told.model_dump(), "epsilon_at_most": 3.0})


def test_other_tools_get_a_word_and_no_number(made):
    _, home, run_id = made
    found = run_facts(home, run_id)
    assert settings(found)["privacy.epsilon"] == "not limited"
    assert not any("epsilon" in name for point in points(found) for name in point.values)
    assert WITHOUT_NOISE in found.plan.notices


def test_the_clock_of_a_report_changes_none_of_it(made):
    _, home, run_id = made
    found = build(run_facts(home, run_id), SystemClock())
    assert json.dumps(found, allow_nan=False)
