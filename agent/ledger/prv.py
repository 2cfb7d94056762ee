"""ε by numerical composition (PRV, Gopi et al., arXiv 2106.02848) beside the enforced figure.

Only ever reported: it assumes a schedule fixed in advance. Opacus' implementation can hang, overflow
or take a gigabyte on some histories, so it runs in a child process with limits on time and memory;
whatever goes wrong there means "not computed".
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from edgeveil.shared.privacy.rdp import Segment, epsilon, merge

LIMIT_S = 60.0
MOST_EPSILON = 50.0  # above, it hangs or overflows, and the figure would mean nothing
EPS_ERROR = 0.01
MOST_SEGMENTS = 256  # each takes a tenth of a second
MEMORY = 4 << 30  # bytes of address space of the child
ROOT = Path(__file__).resolve().parents[2]


class Prv(NamedTuple):
    """An upper bound within EPS_ERROR, or None and why there is none."""

    epsilon: float | None
    note: str


def epsilon_prv(history: Iterable[Segment], delta: float, *, limit_s: float = LIMIT_S) -> Prv:
    """The PRV figure of `history` at `delta`; never raises for want of one."""
    segments = merge(history)
    if not segments:
        return Prv(0.0, "nothing was spent")
    hindrance = _hindrance(segments, delta)
    return _asked(segments, delta, limit_s) if hindrance is None else Prv(None, hindrance)


def _hindrance(segments: tuple[Segment, ...], delta: float) -> str | None:
    """Why it is not even tried."""
    if len(segments) > MOST_SEGMENTS:
        return f"not computed above {MOST_SEGMENTS} kinds of step"
    if epsilon(segments, delta)[0] >= MOST_EPSILON:
        return f"not computed above epsilon {MOST_EPSILON:g}"
    if importlib.util.find_spec("opacus") is None:
        return 'not computed: needs opacus, pip install "edgeveil[train]"'
    return None


def _asked(segments: tuple[Segment, ...], delta: float, limit_s: float) -> Prv:
    question = json.dumps({"history": segments, "delta": delta})
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _search_path()}
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __name__],
            input=question,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=environment,
            check=True,
        )
        return Prv(float(json.loads(child.stdout)), f"upper bound, error at most {EPS_ERROR:g}")
    except subprocess.TimeoutExpired:
        return Prv(None, f"not computed within {limit_s:g} s")
    except (subprocess.CalledProcessError, OSError, ValueError):
        return Prv(None, "not computed: the calculation failed for this history")


def _search_path() -> str:
    """Where the child finds this package, also when it was not installed but run from a folder."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _without_torch() -> None:
    """Let opacus.accountants be imported alone: the package itself would load torch for seconds.

    The accountant needs a name from opacus.optimizers for an annotation only.
    """
    found = importlib.util.find_spec("opacus")
    folder = Path(next(iter(found.submodule_search_locations or []))) if found else Path()
    for name, path in (("opacus", folder), ("opacus.accountants", folder / "accountants")):
        package = ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    optimizers = ModuleType("opacus.optimizers")
    optimizers.__dict__["DPOptimizer"] = object
    sys.modules["opacus.optimizers"] = optimizers


def main() -> None:
    """The child: a question on stdin, the figure on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _without_torch()
    from opacus.accountants.prv import PRVAccountant  # noqa: PLC0415 - only in the child

    question = json.load(sys.stdin)
    accountant = PRVAccountant()
    accountant.history = [tuple(segment) for segment in question["history"]]
    found = accountant.get_epsilon(question["delta"], eps_error=EPS_ERROR)
    sys.stdout.write(repr(float(found)))


if __name__ == "__main__":
    main()
