#!/usr/bin/env bash
# Everything CI checks, cheapest first. ./scripts/test.sh [--fast]   (--fast leaves out system and wheel tests)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
prepare_environment
export PATH="$PWD/.venv/bin:$PATH"

step() { printf '\n== %s\n' "$*"; }

# Real processes, sockets and clocks share the machine with whatever else it does. What fails there is
# shown, then tried once more, alone: a defect fails twice, and one that does not is still in the output.
with_clocks() {
  pytest -q -rs "$@" && return  # with the reason of every test that is left out
  step "once more, alone: what failed"
  pytest -q --last-failed --last-failed-no-failures none "$@"
}
step "format";            ruff format --check .
step "lint";              ruff check .
step "types";             mypy
step "import contracts";  lint-imports
step "unit, property, vectors, protocol, architecture"
pytest -q tests/unit tests/property tests/protocol tests/architecture
step "branch coverage of secure aggregation: 100 %"
./scripts/coverage.sh
step "documentation and integration"
with_clocks tests/docs tests/integration
if [ "${1:-}" != "--fast" ]; then
  step "system: real processes over TLS, pages in a browser"
  if [ ! -x "${EDGEVEIL_CHROMIUM:-/usr/bin/chromium}" ]; then
    echo "without Chromium the tests of pages are left out; on Debian: sudo apt-get install chromium"
  fi
  if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null; then
    echo "the tests with network namespaces are left out: they need root and \`ip\` (Debian: iproute2)"
  fi
  with_clocks tests/system
fi
printf '\nall checks passed\n'
