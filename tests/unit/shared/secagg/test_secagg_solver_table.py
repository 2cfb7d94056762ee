"""The solver against every cell of the protocol's table: k/t/h by assumption and cohort size.

Above 128 agents only: below, the graph is complete and test_secagg_parameters holds its thresholds.
"""

import pytest

from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.parameters import solve

SIZES = (150, 200, 300, 500, 1000, 10_000)
# sigma, gamma, delta: k/t/h at each size; – where no degree up to 254 serves.
TABLE = """
40 .05 .05 | 30/19/7  34/23/8  38/27/9  44/31/10  52/37/11  62/44/13
40 .10 .10 | 46/31/11 56/39/13 66/46/15 82/57/17 96/67/20 122/85/25
40 .20 .10 | 66/49/19 76/57/21 94/70/25 116/86/30 138/102/35 182/134/45
40 .20 .20 | 94/63/23 118/80/27 160/109/35 220/150/45 – –
40 .33 .05 | 64/54/24 78/65/28 90/75/32 110/91/38 132/109/45 172/141/57
40 .33 .10 | 90/70/30 104/82/34 128/101/41 168/132/52 216/169/64 –
40 .10 .30 | 104/60/15 134/78/18 186/109/24 – – –
80 .05 .05 | 30/19/7 38/25/10 44/30/12 54/40/15 66/49/17 82/61/20
80 .10 .10 | 56/36/15 64/43/17 76/54/20 98/71/25 120/87/29 156/113/36
80 .20 .10 | 80/56/25 92/67/29 108/83/34 140/107/41 178/136/50 238/181/64
80 .20 .20 | 106/69/28 124/83/33 166/114/42 246/171/57 – –
80 .33 .05 | 82/66/33 100/83/39 118/100/45 142/121/53 176/149/64 234/197/82
80 .33 .10 | 110/80/39 128/98/45 152/122/53 200/161/67 – –
80 .10 .30 | 104/60/15 134/78/20 186/109/28 – – –
"""
ROWS = [line.split(" | ") for line in TABLE.strip().splitlines()]
COMPLETE = """
.05 .05 | 9/6 19/11 49/26 99/53 127/67
.10 .10 | 9/6 19/11 49/28 99/55 127/70
.20 .10 | 9/6 19/12 49/30 99/60 127/77
.20 .20 | 9/6 19/12 49/30 99/60 127/77
.33 .05 | 9/7 19/13 49/33 99/67 127/85
.33 .10 | 9/7 19/13 49/33 99/67 127/85
.10 .30 | 9/6 19/11 49/28 99/55 127/70
"""


@pytest.mark.parametrize(("assumed", "due"), ROWS, ids=[row[0] for row in ROWS])
def test_every_cell_of_the_sparse_graph(assumed, due):
    sigma, gamma, delta = assumed.split()
    for n, cell in zip(SIZES, due.split(), strict=True):
        if cell == "–":
            with pytest.raises(Infeasible):
                solve(n, float(gamma), float(delta), sigma=int(sigma))
        else:
            found = solve(n, float(gamma), float(delta), sigma=int(sigma))
            assert f"{found.k}/{found.t}/{found.h}" == cell, n


@pytest.mark.parametrize("sigma", [40, 80])
def test_every_cell_of_the_complete_graph(sigma):
    for line in COMPLETE.strip().splitlines():
        assumed, due = line.split(" | ")
        gamma, delta = map(float, assumed.split())
        for n, cell in zip((10, 20, 50, 100, 128), due.split(), strict=True):
            found = solve(n, gamma, delta, sigma=sigma)
            assert (f"{found.k}/{found.t}", found.h) == (cell, None), n
