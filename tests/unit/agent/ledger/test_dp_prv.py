"""PRV beside RDP: right where it is computed, and None, never an error or a hang, where it is not."""

import subprocess
import sys

import privacy_bench as bench
import pytest
from load_bench import Stopwatch

from edgeveil.agent.ledger import prv
from edgeveil.agent.ledger.prv import epsilon_prv
from edgeveil.agent.reports.prv_cache import cached_prv
from edgeveil.shared.privacy.rdp import Segment

ONE = [Segment(10.0, 1.0, 100)]


@pytest.mark.parametrize("name", ["E", "N"])
def test_the_published_figures(name):
    vector = next(v for v in bench.VECTORS["vectors"] if v["id"] == name)
    found = epsilon_prv(bench.history(vector), vector["delta"])
    assert found.epsilon == pytest.approx(vector["opacus_prv"]["epsilon"], abs=0.02)


def test_nothing_spent_is_zero():
    assert epsilon_prv([], 1e-5).epsilon == 0.0


def test_histories_that_hang_or_overflow_are_not_tried():
    with Stopwatch() as watch:
        assert epsilon_prv([Segment(0.3, 0.5, 1000)], 1e-5).epsilon is None
    assert watch.within(1), watch


def test_the_time_limit_holds():
    with Stopwatch() as watch:
        found = epsilon_prv(ONE, 1e-5, limit_s=0.05)
    assert found.epsilon is None
    assert "within" in found.note
    assert watch.within(10), watch


def test_a_history_of_too_many_kinds_of_step_is_not_tried(monkeypatch):
    kinds = [Segment(200 + place / 1000, 1.0, 1) for place in range(prv.MOST_SEGMENTS + 1)]
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert "kinds of step" in epsilon_prv(kinds, 1e-5).note
    assert "failed" in epsilon_prv(kinds[1:], 1e-5).note


def test_a_failing_child_is_not_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert epsilon_prv(ONE, 1e-5).epsilon is None


def test_without_opacus_the_note_says_so(monkeypatch):
    monkeypatch.setattr(prv.importlib.util, "find_spec", lambda name: None)
    found = epsilon_prv(ONE, 1e-5)
    assert found.epsilon is None
    assert "edgeveil[train]" in found.note


def test_the_child_does_without_torch():
    code = (
        "import sys; from edgeveil.agent.ledger import prv; prv._without_torch();"
        "import opacus.accountants.prv; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_figure_is_kept_until_something_is_spent(tmp_path, monkeypatch):
    asked = []

    def counted(history, delta):
        asked.append(history)
        return prv.Prv(float(len(asked)), "counted")

    monkeypatch.setattr("edgeveil.agent.reports.prv_cache.epsilon_prv", counted)
    assert cached_prv(tmp_path, ONE, 1e-5).epsilon == 1.0
    assert cached_prv(tmp_path, ONE, 1e-5).epsilon == 1.0
    assert cached_prv(tmp_path, [*ONE, Segment(5.0, 1.0, 1)], 1e-5).epsilon == 2.0
    (tmp_path / "prv.json").write_text("damaged")
    assert cached_prv(tmp_path, ONE, 1e-5).epsilon == 3.0
