"""The slowest tests of a run, from the reports that pytest wrote. python scripts/slowest.py REPORT.xml…"""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

MOST = 20


def main(reports: list[str]) -> None:
    """Seconds with set-up and tear-down, the slowest first; then what each report took in all."""
    tests, tiers = [], []
    for report in map(Path, reports):
        root = ET.parse(report).getroot()  # noqa: S314 - pytest wrote it a moment ago
        cases = [
            (float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}")
            for case in root.iter("testcase")
        ]
        tests += cases
        wall = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
        tiers.append(f"{report.stem}: {len(cases)} tests in {wall:.0f} s")
    for seconds, name in sorted(tests, reverse=True)[:MOST]:
        print(f"{seconds:8.1f} s  {name[:150]}")
    print("; ".join(tiers))


if __name__ == "__main__":
    main(sys.argv[1:])
