"""Both privacy reports and the device's page in Chinese, and what their percentages are of."""

import html
import re

import pytest
import report_bench
from reports_bench import facts_of

from edgeveil.agent.home.data import DataShelf, InUse
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.reports.page_view import own_state
from edgeveil.agent.reports.page_view import page as own_page
from edgeveil.agent.reports.report import build
from edgeveil.agent.reports.report_page import page
from edgeveil.coordinator.reports.privacy.page import page as run_page
from edgeveil.coordinator.reports.privacy.report import build as build_of_run
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.privacy.report.page import read_data
from edgeveil.shared.privacy.report.words import Words, meaning

# Names and software, which have no language.
NAMES = re.compile(r"feature-head|keyed by os.urandom|edgeveil [\w.]+|run-[\w-]+|agent (data check|verify|budget|pause|resume|policy (set|show)|doctor|audit|run)")  # fmt: skip
ENGLISH = re.compile(r"(?:\b[A-Za-z']{2,}\b[ ,;:]*){3,}")


def words_of(text):
    """What a person reads: no markup, no data, no style."""
    body = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.DOTALL)
    return NAMES.sub(" ", html.unescape(re.sub(r"<[^>]+>", " | ", body)))


@pytest.fixture
def device(tmp_path):
    return report_bench.trained_device(tmp_path)


def test_a_device_s_report_says_nothing_in_english_on_its_chinese_page(device):
    report = build(device.path, "data", SystemClock(), prv=False)
    text = page(report, "zh")
    assert ENGLISH.findall(words_of(text)) == []
    assert 'lang="zh-Hans"' in text
    assert read_data(text) == report, "the report is the same, whatever the language of its page"
    assert len(ENGLISH.findall(words_of(page(report)))) > 30, "so this test can fail"


def test_a_report_that_was_reset_and_refused_is_chinese_too(device):
    with device.device.open() as store:
        store.reset("owner")
    device.train(1)
    report = build(device.path, "data", SystemClock(), prv=False)
    report["integrity"]["refusals"] = {"POLICY_SIGMA": {"count": 2, "last": "round", "time": 1}}
    assert ENGLISH.findall(words_of(page(report, "zh"))) == []


@pytest.mark.parametrize("chances", [{}, {"abort": 1.0}, {"drop": 0.4}])
def test_a_run_s_privacy_report_says_nothing_in_english_on_its_chinese_page(chances):
    text = run_page(build_of_run(facts_of(4, 4, **chances), SystemClock()), "zh")
    assert ENGLISH.findall(words_of(text)) == []


@pytest.mark.parametrize("value", [0.0, 0.4, 6.0, 40.0])
def test_the_meaning_of_a_figure_is_said_again_with_the_same_figures(value):
    english = meaning(value, 1e-5)
    chinese = Words("zh").again(english)
    assert ENGLISH.findall(chinese) == []
    numbers = re.findall(r"\d+\.\d+|100,000", english)
    assert re.findall(r"\d+\.\d+|100,000", chinese) == numbers
    assert Words("zh").again("a sentence of nobody") == "a sentence of nobody"
    assert Words("en").again(english) == english


def test_a_percentage_of_the_budget_is_epsilon_of_epsilon_everywhere(tmp_path):
    device = report_bench.joined_device(tmp_path, Policy(epsilon_max=2.0))
    device.train(20)
    budget = read_budget(device.path, "data")
    share = budget.epsilon_spent / 2.0
    assert abs(share - budget.share_spent) > 0.02, "the Rényi share is another figure"
    assert f"{share:.1%} of ε" in report_bench.run(device, "budget").output
    own = own_page(own_state(device.path, "data"), "en")
    report = build(device.path, "data", SystemClock(), prv=False)
    for text in (own, page(report)):
        assert f"{share:.0%} of this data set&#x27;s privacy budget" in text
        assert f"{share:.1%} of ε is used" in text
    left = re.findall(r'<desc id="cd">([^<]+)<', page(report))
    assert left == [f"{1 - share:.0%} of ε is left after 20 charged rounds"]


def test_the_device_s_page_shows_the_data_in_use_resets_and_how_to_pause(device):
    found = InUse(device.path, "images", (28, 28, 3), {"bag": 12, "<coat>": 30}, 3, 42)
    text = own_page(own_state(device.path, "data", found), "en")
    for shown in (
        "images, 28 × 28 × 3",
        "&lt;coat&gt;",
        "3 left out",
        "agent pause",
        "Counted anew",
    ):
        assert shown in text, shown
    assert text.index("&lt;coat&gt;") < text.index(">bag<"), "the class with most records first"
    assert "Not read yet." in own_page(own_state(device.path, "data"), "en")
    device.home.pause()
    assert "Paused: this device declines" in own_page(own_state(device.path, "data"), "en")
    zh = own_page(own_state(device.path, "data", found), "zh")
    assert ENGLISH.findall(words_of(zh)) == []


def test_a_shelf_tells_what_is_in_use_once_it_is_read(tmp_path):
    import numpy as np

    from edgeveil.shared.data.schema import infer

    path = tmp_path / "x.npz"
    np.savez(path, X=np.zeros((5, 8, 8), np.float32), y=np.array([0, 1, 1, 0, 9]))
    shelf = DataShelf(path, schema=infer(path))
    assert shelf.in_use() is None
    shelf.fill()
    found = shelf.in_use()
    assert (found.usable, found.left_out) == (5, 0)
    assert {label: n for label, n in found.labels.items() if n} == {"0": 2, "1": 2, "9": 1}
