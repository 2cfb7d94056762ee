#!/usr/bin/env bash
# A whole federation on this machine: one coordinator and four agents, real processes, TLS on loopback.
#   ./scripts/demo.sh [--agents N] [--rounds N] [--epsilon E] [--task NAME] [--home DIR] [--no-input]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/scripts/environment.sh"
(cd "$root"; prepare_environment)
exec "$root/.venv/bin/python" "$root/scripts/demo_federation.py" "$@"
