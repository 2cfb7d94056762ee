"""The image tasks learn what they learned before: updates and figures recorded by tests/benches/recorded_bench.py.

Within a millionth: three gradient engines on one machine differ by up to 5e-8, and other processors may
round otherwise. A change that is not one of rounding is far larger.
"""

import json

import numpy as np
import pytest
import recorded_bench as bench

RECORDED = json.loads(bench.FILE.read_text())
WITHIN = 1e-6


def test_every_recorded_case_is_compared():
    assert {" ".join(case) for case in bench.CASES} == set(RECORDED)


@pytest.mark.parametrize("case", bench.CASES, ids="-".join)
def test_training_and_evaluation_give_what_they_gave(case, tmp_path):
    wanted = RECORDED[" ".join(case)]
    update, evaluation = bench.outcome(tmp_path, *case)
    found = bench.kept(update, evaluation, bench.confusion_of(evaluation))
    away = np.linalg.norm(np.subtract(found["every"], wanted["every"]))
    assert away <= WITHIN * np.linalg.norm(wanted["every"])
    assert found["norm"] == pytest.approx(wanted["norm"], rel=WITHIN)
    assert found["metrics"] == pytest.approx(wanted["metrics"], rel=WITHIN)
    assert list(found["metrics"]) == list(wanted["metrics"])
    assert found["confusion"] == wanted["confusion"]
