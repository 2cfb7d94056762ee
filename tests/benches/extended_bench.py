"""One federation that uses every example of docs/extending.md, for a tree in which they have been added.

python tests/benches/extended_bench.py FOLDER    # prints what was seen as JSON
"""

import json
import sys
from pathlib import Path

import numpy as np
from fakes_federation import Federation, plan_for

from edgeveil.agent.home.data import DataShelf, check_folder
from edgeveil.coordinator import learning
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page, sections
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.pages.words import LANGUAGES
from edgeveil.shared.tasks import registry

SIDE, RATE, RECORDS = 8, 0.25, 120


def write_table(path, salt):
    """Class 0 is dark in its upper half, class 1 in its lower; one line in between is neither."""
    random = np.random.default_rng(salt)
    lines = []
    for number in range(RECORDS):
        grey = random.integers(128, 256, (SIDE, SIDE))
        half = slice(0, SIDE // 2) if number % 2 == 0 else slice(SIDE // 2, SIDE)
        grey[half] //= 4
        lines.append(",".join(map(str, [number % 2, *grey.reshape(-1)])))
    path.write_text("\n".join(lines) + "\n")
    return path


def refusal(path):
    try:
        check_folder(path)
    except DataError as error:
        return str(error)
    return ""


def main(folder):
    pieces = [write_table(folder / f"{number}.csv", number) for number in range(4)]
    whole = pieces[0].read_text()
    pieces[0].write_text(whole + "1,2,nonsense\n")
    (folder / "empty.csv").touch()
    (folder / "other.txt").touch()
    federation = Federation(folder, agents=3, pieces=pieces)
    plan = plan_for(
        3, task__id="row-means", task__options={"variant": "fixed", "classes": 2, "height": SIDE, "width": SIDE},
        server__strategy="signum", server__learning_rate=RATE, evaluation__data=str(federation.test),
    )  # fmt: skip
    driver = federation.train(plan)
    found = RunFacts(federation.store.run(driver.run.run_id), federation.store.rounds())
    seen = {
        "imported from": learning.__file__,
        "files": registry.find("row-means", "1.0.0").files,
        "counted": DataShelf(check_folder(pieces[0])).count(),
        "refused": [refusal(folder / "empty.csv"), refusal(folder / "other.txt")],
        "told the owner": federation.statuses,
        "judged by": plan.evaluation.metric,
        "rounds": [[record.outcome.value, record.metrics] for record in found.records],
        "steps": sorted(set(np.abs(driver.learned.model / RATE).tolist())),
        "remembered": sorted(driver.learned.state),
        "titles": {one: [title for _, title, _ in sections(found, Words(one))] for one in LANGUAGES},
        "pages": {one: report_page(found, one, made=1.75e9) for one in LANGUAGES},
    }  # fmt: skip
    federation.close()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
