#!/usr/bin/env bash
# The whole loop on this machine: train, package, publish, serve on three devices, train on, swap under load.
#   ./scripts/loop.sh [--rounds N] [--home DIR] [--no-input]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/scripts/environment.sh"
(cd "$root"; prepare_environment)
exec "$root/.venv/bin/python" "$root/scripts/loop.py" "$@"
