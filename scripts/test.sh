#!/usr/bin/env bash
# Everything CI checks, cheapest first. ./scripts/test.sh [--fast]   (--fast leaves out system and wheel tests)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
prepare_environment
export PATH="$PWD/.venv/bin:$PATH"
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

step() { printf '\n== %s\n' "$*"; }

# One worker per processor and one thread in each; tests of real processes wait now and then, so there is
# one worker more for them. Tests of a file that share a federation stay in one worker (loadfile), and
# files that take long begin first (tests/conftest.py), in place of those with most tests.
export OMP_NUM_THREADS=1
cores=$(nproc)
run() {  # TIER WORKERS DISTRIBUTION TESTS…
  local tier=$1 workers=$2 spread=$3
  shift 3
  pytest -q -rfEs -n "$workers" --dist "$spread" --no-loadscope-reorder \
    --junitxml "$reports/$tier.xml" "$@"
}

# Real processes, sockets and clocks share the machine with whatever else it does. What fails there is
# shown, then tried once more, alone: a defect fails twice, and one that does not is still in the output.
with_clocks() {
  run "$@" && return
  shift 3
  step "once more, alone: what failed"
  pytest -q --last-failed --last-failed-no-failures none "$@"
}
step "format";            ruff format --check .
step "lint";              ruff check .
step "types";             mypy
step "import contracts";  lint-imports
step "unit, property, vectors, protocol, architecture"
run unit "$cores" worksteal tests/unit tests/property tests/protocol tests/architecture
step "branch coverage of secure aggregation: 100 %"
./scripts/coverage.sh
step "documentation and integration"
with_clocks integration "$cores" loadfile tests/docs tests/integration
if [ "${1:-}" != "--fast" ]; then
  step "system: real processes over TLS, pages in a browser, the wheel"
  if [ ! -x "${EDGEVEIL_CHROMIUM:-/usr/bin/chromium}" ]; then
    echo "without Chromium the tests of pages are left out; on Debian: sudo apt-get install chromium"
  fi
  if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null; then
    echo "the tests with network namespaces are left out: they need root and \`ip\` (Debian: iproute2)"
  fi
  with_clocks system "$((cores + 1))" loadfile tests/system
fi
step "the slowest tests"
python scripts/slowest.py "$reports"/*.xml
printf '\nall checks passed\n'
