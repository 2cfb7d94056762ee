"""When the server may go on: exactly the rules the agents will check at M3, M4 and M5.

docs/protocol.md, "Why M3–M5 look like this": Q > (n + C)/2 signers, t live neighbours, half windows.
"""

from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.primitives.errors import Aborted, Code


def lacking(
    cohort: Cohort, live: Sets, masked_for: Sets, summed: Sets, name: str
) -> Aborted | None:
    """Why `live` agents could not unmask: too few signers, neighbours, or a thin half window.

    Every agent of `masked_for` (U2) needs t live neighbours, every agent of `summed` (U3) more than
    h live ones in each half window.
    """
    solution = cohort.solution
    if len(live) < solution.quorum:
        return Aborted(Code.QUORUM, f"{name}: {len(live)} agents, {solution.quorum} are needed")
    thin = cohort.thin(live, masked_for)
    if thin:
        return Aborted(
            Code.QUORUM,
            f"{name}: {len(thin)} agents have fewer than {solution.t} live neighbours",
            agent=thin[0],
        )
    narrow = cohort.narrow(live, summed)
    if narrow:
        return Aborted(
            Code.WINDOW, f"{name}: {len(narrow)} half windows are too thin", agent=narrow[0]
        )
    return None
