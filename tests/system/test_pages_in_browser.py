"""Every page in a real browser: on a phone and on a desk, by day and by night, by keyboard."""

import json
import re
import statistics
import subprocess

import pytest
from browser_bench import Watched, browsing, needs_chromium
from load_bench import Stopwatch
from processes_bench import BIN, Machine, wait_until
from reports_bench import facts_of

from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports.page import report_page

pytestmark = pytest.mark.system
WIDTHS = (360, 1440)
PRINTED_CELLS = """() => [...document.querySelectorAll(".matrix tbody td")].map((cell) => {
  const style = getComputedStyle(cell);
  return [style.color, style.backgroundColor];
})"""


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    cases = {
        "usual": facts_of(12, 6, drop=0.1, abort=0.1),
        "failed": facts_of(2, 4, abort=1.0, state=RunState.FAILED),
        "empty": facts_of(0, 3, state=RunState.QUEUED),
        "one": facts_of(3, 1),
        "large": facts_of(1000, 100, drop=0.06, abort=0.02),
    }
    for name, found in cases.items():
        for language in ("en", "zh"):
            html = report_page(found, language, made=1.75e9)
            (folder / f"{name}-{language}.html").write_text(html)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "name", ["usual-en", "usual-zh", "failed-en", "empty-zh", "one-en", "large-en"]
)
def test_a_report_is_clean_readable_and_reachable(browser, reports, name, width):
    for scheme in ("light", "dark"):
        watched = Watched(browser, width=width, scheme=scheme)
        url = (reports / f"{name}.html").as_uri()
        watched.page.goto(url)
        watched.check(url)
        if not name.startswith("large") or scheme == "light":
            watched.check_contrast()
        if not name.startswith("large"):
            watched.photograph(f"report-{name}-{scheme}")
        if not name.startswith(("empty", "large")) and scheme == "light":
            watched.check_keyboard()
        watched.close()


def test_a_printed_report_is_black_on_white_and_complete(browser, reports):
    watched = Watched(browser, width=1440, scheme="dark")
    watched.page.goto((reports / "usual-en.html").as_uri())
    watched.page.emulate_media(media="print")
    assert watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"  # fmt: skip
    watched.check_contrast()
    cells = watched.page.evaluate(PRINTED_CELLS)
    assert len(cells) == 100
    assert set(map(tuple, cells)) == {("rgb(0, 0, 0)", "rgba(0, 0, 0, 0)")}, (
        "a printer leaves backgrounds out"
    )
    hits = watched.page.evaluate("[...document.querySelectorAll('.hit')].map((e) => getComputedStyle(e).outlineStyle)")  # fmt: skip
    assert hits == ["solid"] * 10
    watched.close()


def test_a_printed_report_wastes_no_pages(browser, reports):
    """A section may go on over the page; before, each began on a page of its own."""
    watched = Watched(browser, width=1440)
    for name, most in (("usual-en", 6), ("usual-zh", 6), ("empty-en", 2), ("one-en", 5)):
        watched.page.goto((reports / f"{name}.html").as_uri())
        pdf = watched.page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= most, name
    watched.close()


def test_lines_of_other_agents_are_thinner_than_the_one_that_counts(browser, reports):
    watched = Watched(browser, width=1440)
    watched.page.goto((reports / "usual-en.html").as_uri())
    widths = watched.page.evaluate(
        "['one', 'thin'].map((kind) => parseFloat(getComputedStyle(document.querySelector('#privacy polyline.' + kind)).strokeWidth))"
    )
    assert widths[0] >= 2 * widths[1]
    watched.close()


def test_no_part_of_a_plan_is_split_between_columns(browser, reports):
    watched = Watched(browser, width=1440)
    watched.page.goto((reports / "usual-en.html").as_uri())
    boxes = watched.page.evaluate(
        "[...document.querySelectorAll('.plan pre')].map((e) => e.getClientRects().length)"
    )
    assert len(boxes) == 6
    assert set(boxes) == {1}
    watched.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    needs_chromium()
    made = Machine(tmp_path_factory.mktemp("watched"))
    try:
        made.serve()
        start = made.start_agent

        def start_with_a_page(name, *arguments, **environment):
            more = ("--page", "--page-listen", "127.0.0.1:0") if name == "agent-1" else ()
            return start(name, *arguments, *more, **environment)

        made.start_agent = start_with_a_page
        made.join_all()
        yield made
    finally:
        made.close()


# Notes when the number of rows in the table of rounds changes, with the clock that events carry.
WATCH = """() => {
  window.seen = [];
  let before = 0;
  const look = () => {
    const rows = document.querySelectorAll("#rounds tbody tr").length;
    if (rows > before) window.seen.push([rows, Date.now() / 1000]);
    before = rows;
  };
  new MutationObserver(look).observe(document.getElementById("main"), { childList: true, subtree: true });
}"""


def until(watched, condition, seconds=120):
    """The page's policy forbids eval, so the condition is asked from outside."""
    wait_until(lambda: watched.ask(condition), seconds, condition)


def test_the_live_page_follows_a_running_federation(browser, machine):
    url = machine.status()["page"]
    pages = [Watched(browser, width=width) for width in WIDTHS]
    still = Watched(browser, width=360, javascript=False)
    for watched in (*pages, still):
        watched.page.goto(url + "?lang=en")
    pages[0].page.evaluate(WATCH)
    assert "Idle" in pages[0].page.inner_text("#now")
    plan = machine.plan(count=6)
    command = [BIN / "coordinator", "run", "--json", plan, "--home", machine.home]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        until(pages[0], "window.seen.some(([rows]) => rows === 6)", 240)
        assert running.wait(timeout=120) == 0
    for watched in pages:
        until(watched, "document.querySelectorAll('#rounds tbody tr').length === 6")
        watched.await_text("#now", "finished")
        wait_until(
            lambda page=watched.page: page.inner_text("#agents").count("connected") == 4,
            60,
            lambda page=watched.page: page.inner_text("#agents"),
        )
        watched.check(url)
        watched.check_contrast()
        watched.check_keyboard()
        watched.photograph("live")
        order = watched.ask("[...document.querySelectorAll('main > section')].map((e) => e.id)")
        assert order[:3] == ["now", "agents", "quality"], "what came later stands where it belongs"
        assert order[-2:] == ["runs", "events"]
    shown, rows = dict(pages[0].ask("window.seen")), machine.rounds()
    delays = [shown[row["round"]] - row["finished"] for row in rows if row["round"] in shown]
    assert len(delays) >= 2
    # A second, or as long as a round takes: on a busy machine both take longer.
    long = max(1.0, statistics.median(row["seconds"] for row in rows))
    assert statistics.median_low(delays) < long, delays
    still.await_text("#now", "finished")
    still.check(url)
    pages[1].page.click("#runs a")
    pages[1].await_text("header", "Report of a run")
    pages[1].check(url)
    for watched in (*pages, still):
        watched.close()


def test_the_page_says_that_the_coordinator_is_gone(browser, machine):
    url = machine.status()["page"]
    watched = Watched(browser, width=360)
    watched.page.goto(url + "?lang=zh")
    machine.stop("coordinator")
    watched.await_text("#connection", "协调器无响应")
    watched.close()
    machine.serve()
    machine.wait_for("connected", 120)


def test_the_devices_own_page_shows_what_left_and_what_is_left(browser, machine):
    if not machine.rounds():
        machine.train(machine.plan(count=2))
    (said,) = [json.loads(line)["message"] for line in machine.log("agent-1").splitlines() if '"page http' in line]  # fmt: skip
    url = said.removeprefix("page ")
    for width in WIDTHS:
        watched = Watched(browser, width=width)
        watched.page.goto(url + "?lang=en")
        assert "agent-1" in watched.page.inner_text("h1")
        for part in ("#budget", "#model", "#trained", "#sent", "#refusals"):
            assert watched.page.inner_text(part)
        assert "masked update" in watched.page.inner_text("#sent")
        assert re.search(r"[0-9a-f]{64}", watched.page.inner_text("#model"))
        watched.check(url)
        watched.check_contrast()
        watched.check_keyboard()
        watched.photograph("device")
        watched.close()


def test_stopping_is_not_held_up_by_somebody_who_watches(browser, machine):
    watched = Watched(browser, width=360)
    watched.page.goto(machine.status()["page"])
    with Stopwatch() as watch:
        assert machine.stop("coordinator") == 0
    assert watch.within(8), watch
    watched.close()
