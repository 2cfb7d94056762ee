"""Who may be lost where: the rules of a complete graph on plain sets, and a check of one pattern.

A pattern gives for each agent the number of the exchange from which on it never answers; NEVER is
nobody's. Agent i uploads a one-hot vector, so any wrong summand shows.
"""

from secagg_bench import STAGES, Bench, params

from edgeveil.shared.secagg.primitives.errors import Aborted

NEVER = len(STAGES)


def survives(n: int, lost_at: list[int], bench: Bench) -> bool:
    """The rules of the protocol for a complete graph, on plain sets."""
    sets = [{i for i in range(n) if lost_at[i] > stage} for stage in range(NEVER)]
    if len(sets[0]) < bench.params.n_min:
        return False
    solution = bench.params.solve(len(sets[0]))
    u2 = sets[1]
    for stage, live in enumerate(sets[1:], start=1):
        if STAGES[stage] in {"share", "masked"} and len(live) < bench.params.n_min:
            return False
        if STAGES[stage] != "unmask" and len(live) < solution.quorum:
            return False
        if any(len(live - {i}) < solution.t for i in u2):
            return False
    return True


def check(n: int, lost_at: list[int], c_min: int = 0) -> bool:
    bench = Bench.of(n, params(n, c_min=c_min))
    lost = {name: [i for i in range(n) if lost_at[i] == stage] for stage, name in enumerate(STAGES)}
    if survives(n, lost_at, bench):
        result = bench.play(lost)
        survivors = {bench.agents[i].id for i in range(n) if lost_at[i] > STAGES.index("masked")}
        assert set(result.u3) == survivors
        assert (result.lanes == bench.expected(result)).all()
        assert result.liars == ()
        return True
    try:
        bench.play(lost)
    except Aborted as abort:
        code = abort.code
    else:
        raise AssertionError(f"{lost_at}: a sum was revealed below the limits")
    assert code in {"COHORT_TOO_SMALL", "QUORUM", "GRAPH_MISMATCH"}
    counts = {name: sum(entry[0] == name for entry in bench.traffic) for name in STAGES}
    if counts["unmask"]:
        t = bench.params.solve(counts["advert"]).t
        assert counts["unmask"] <= t, "enough shares for every secret were released"
    return False
