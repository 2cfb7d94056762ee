"""The privacy reports of both sides in a real browser: on a phone, at a desk, by night and on paper."""

import pytest
from browser_bench import Watched, browsing
from report_bench import joined_device
from reports_bench import facts_of
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.refusals import RefusalCounts
from edgeveil.coordinator.reports.privacy.page import page
from edgeveil.coordinator.reports.privacy.report import build
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import RefusalCode

pytestmark = pytest.mark.system
PAPER = 1123 - 2 * 38  # CSS pixels of an A4 page within margins of one centimetre
PAPER_WIDTH = 794 - 2 * 38
NAMES = ("spent", "nothing", "used-up", "refused", "counted-anew", "run", "run-refused")


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    devices = {name: joined_device(folder / name) for name in NAMES[:5]}
    for name in ("spent", "refused", "counted-anew"):
        devices[name].train(3)
    devices["used-up"].train(6, noise_multiplier=4.43, steps=8)
    for name in ("refused", "used-up"):
        where = "run run-1 round 7 attempt 1"
        RefusalCounts(devices[name].path).note(RefusalCode.POLICY_SIGMA, where=where, now=1.7e9)
    with devices["counted-anew"].device.open() as store:
        store.reset("owner")
    for name, device in devices.items():
        flags = ["--no-prv", "--html", str(folder / f"{name}.html"), "--home", str(device.path)]
        assert CliRunner().invoke(app, ["budget", *flags]).exit_code == 0
    for name, found in {"run": facts_of(12, 6), "run-refused": facts_of(2, 4, abort=1.0)}.items():
        (folder / f"{name}.html").write_text(page(build(found, SystemClock())))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_privacy_report_is_clean_and_readable(browser, pages, name):
    for width, scheme in ((360, "light"), (1440, "dark")):
        watched = Watched(browser, width=width, scheme=scheme)
        url = (pages / f"{name}.html").as_uri()
        watched.page.goto(url)
        watched.check(url)
        watched.check_contrast()
        watched.close()


@pytest.mark.parametrize("name", NAMES)
def test_one_sheet_of_paper_says_what_was_spent_what_it_means_and_what_is_not_covered(
    browser, pages, name
):
    watched = Watched(browser, width=PAPER_WIDTH, scheme="dark")
    watched.page.goto((pages / f"{name}.html").as_uri())
    watched.page.emulate_media(media="print")
    watched.check_contrast()
    ends = watched.page.evaluate(
        "['.lead', 'section.caution'].map((s) => document.querySelector(s).getBoundingClientRect().bottom)"
    )
    assert 0 < ends[0] < ends[1] <= PAPER
    watched.close()
