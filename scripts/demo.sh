#!/usr/bin/env bash
# A whole federation on this machine: one coordinator and four agents, real processes, TLS on loopback.
#   ./scripts/demo.sh [--agents N] [--rounds N] [--epsilon E] [--model feature-head|cnn] [--home DIR] [--no-input]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
prepare_environment
exec .venv/bin/python scripts/demo_federation.py "$@"
