"""Whoever sees one update tells a data set of six records from one of five, however strong the noise (opacus#819).

    python scripts/evidence/divisor_of_opacus.py

Opacus, with Poisson batches as by default, divides gradient and noise by floor(records / batches): 2 for six
records in batches of two, 1 for five. Our divisor is a public figure of the device. No record has a gradient, so that
the update is the noise alone; both guess from its spread, 40 times.
"""

import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/benches"))
# On the generator, on hooks, and that the first batch was empty: none of it changes the row.
warnings.simplefilter("ignore")
logging.getLogger("opacus").setLevel(logging.ERROR)

from divisor_bench import SIGMA, ours, stock, told_apart  # noqa: E402

from edgeveil.shared.privacy.gaussian import epsilon_of  # noqa: E402


def main() -> int:
    peer, own = (round(40 * told_apart(update)) for update in (stock, ours))
    promised = epsilon_of(1 / SIGMA, 1e-5)
    shown = f"{peer} of 40 guesses right at a noise of ε {promised:.2f}"
    print(
        f"| six records or five | Opacus {version('opacus')}: {shown} | our trainer: {own} of 40 |"
    )
    return 0 if peer == 40 and promised < 0.1 and 6 <= own <= 34 else 1


if __name__ == "__main__":
    raise SystemExit(main())
