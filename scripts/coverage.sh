#!/usr/bin/env bash
# Every line and branch of shared/secagg is reached by its own quick tests. ./scripts/coverage.sh
# The patterns of losses, lies at every size, the simulator and whole sparse rounds are left out: they reach nothing new.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$(mktemp -d)
export PATH="$PWD/.venv/bin:$PATH" COVERAGE_FILE="$data/coverage"
trap 'rm -rf "$data"' EXIT
coverage run --branch --source=shared/secagg -m pytest -q -n "$(nproc)" --dist worksteal tests/unit/shared/secagg tests/protocol \
  --ignore=tests/protocol/test_secagg_dropouts.py --ignore=tests/protocol/test_secagg_simulator.py \
  --ignore=tests/protocol/test_secagg_lying_shares.py \
  -k "not emptied_windows and not honest_coordinator_stops"
coverage combine --quiet
coverage report --fail-under=100 --precision=2 --skip-covered --show-missing
