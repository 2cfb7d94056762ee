"""The three rules of M5 on a sparse graph of 130 agents, against their definition spelled out.

Cheap: no session runs. Who is tested is what both sides call: thin(), narrow(), the client's quorum
check and the server's.
"""

import numpy as np
import pytest
from secagg_bench import CTX, Identity, identities, params

from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.client.unmasking import Agreed
from edgeveil.shared.secagg.primitives.errors import Aborted, Refused
from edgeveil.shared.secagg.primitives.ring import zeros
from edgeveil.shared.secagg.server.keys import CollectShares
from edgeveil.shared.secagg.server.masking import CollectMasked
from edgeveil.shared.secagg.server.quorum import lacking
from edgeveil.shared.secagg.server.stage import ServerSetup
from edgeveil.shared.secagg.server.unmasking import CollectAgreements, CollectUnmasking, Masked

N = 130
AGENTS: list[Identity] = identities(N)
IDS = [agent.id for agent in AGENTS]
PARAMS = params(N, bits=32, n_min=60, lanes=2)


def _cohort() -> Cohort:
    return Cohort(CTX, [(agent, bytes(32)) for agent in IDS], PARAMS)


def _order(cohort: Cohort) -> list[bytes]:
    """The ids in the order of the ring."""
    return [IDS[rank] for rank in cohort.graph.order.tolist()]


def _half_windows(cohort: Cohort, agent: bytes) -> tuple[list[bytes], list[bytes]]:
    order, half = _order(cohort), cohort.solution.k // 2
    place = order.index(agent)
    after = [order[(place + step) % N] for step in range(1, half + 1)]
    before = [order[(place - step) % N] for step in range(1, half + 1)]
    return after, before


def _thinned(cohort: Cohort, left: int, *, forward: bool) -> tuple[bytes, frozenset[bytes]]:
    """(agent, live): exactly `left` live agents in one of its half windows, all others live."""
    agent = _order(cohort)[3]
    window = _half_windows(cohort, agent)[0 if forward else 1]
    return agent, frozenset(IDS) - set(window[: len(window) - left])


def test_neighbours_are_the_two_half_windows():
    cohort = _cohort()
    assert cohort.solution.k < N - 1
    for agent in IDS[:9]:
        after, before = _half_windows(cohort, agent)
        assert list(cohort.neighbours(agent)) == sorted(after + before)


@pytest.mark.parametrize("seed", range(4))
def test_narrow_and_thin_are_what_they_are_defined_as(seed):
    cohort = _cohort()
    chance = np.random.default_rng(seed)
    live = {agent for agent in IDS if chance.random() < 0.5}
    of = [agent for agent in IDS if chance.random() < 0.7]
    narrow, thin = [], []
    for agent in of:
        counts = [len(live & set(window)) for window in _half_windows(cohort, agent)]
        if min(counts) <= cohort.solution.h:
            narrow.append(agent)
        if sum(counts) < cohort.solution.t:
            thin.append(agent)
    assert narrow
    assert thin
    assert cohort.narrow(live, of) == narrow
    assert cohort.thin(live, of) == thin


@pytest.mark.parametrize("forward", [True, False])
def test_h_live_agents_in_a_half_window_are_too_few_and_one_more_is_enough(forward):
    cohort = _cohort()
    h = cohort.solution.h
    agent, live = _thinned(cohort, h, forward=forward)
    assert cohort.narrow(live, [agent]) == [agent]
    agent, live = _thinned(cohort, h + 1, forward=forward)
    assert cohort.narrow(live, [agent]) == []


def test_a_complete_graph_has_no_windows_and_counts_all_others():
    ids = IDS[:5]
    cohort = Cohort(CTX, [(agent, bytes(32)) for agent in ids], params(5, c_min=1))  # t = 3
    assert cohort.narrow([], ids) == []
    assert cohort.thin(ids[:3], ids) == ids[:3]
    assert cohort.thin(ids[:4], ids) == []


def _agreed(cohort: Cohort, u3: frozenset[bytes]) -> Agreed:
    members = {agent.id: agent.public for agent in AGENTS}
    settings = Settings.of(CTX, PARAMS, members, AGENTS[0], bytes, 1)
    return Agreed(settings, cohort, {}, frozenset(IDS), u3)


def test_an_agent_refuses_signers_who_empty_a_half_window():
    cohort = _cohort()
    agent, live = _thinned(cohort, cohort.solution.h, forward=True)
    assert len(live) >= cohort.solution.quorum
    assert not cohort.thin(live, IDS)
    with pytest.raises(Refused) as refusal:
        _agreed(cohort, frozenset(IDS))._check_quorum(live)
    assert refusal.value.code == "WINDOW"
    assert str(refusal.value) == "a half window of the ring has too few signers"
    narrow = set(cohort.narrow(live, IDS))
    assert agent in narrow
    _agreed(cohort, frozenset(IDS) - narrow)._check_quorum(live)  # it binds U3 only


def test_an_agent_refuses_signers_who_leave_one_of_u2_too_few_neighbours():
    cohort = _cohort()
    near = cohort.neighbours(IDS[5])
    live = frozenset(IDS) - set(near[: len(near) - cohort.solution.t + 1])
    assert len(live) >= cohort.solution.quorum
    with pytest.raises(Refused) as refusal:
        _agreed(cohort, frozenset(IDS))._check_quorum(live)
    assert refusal.value.code == "QUORUM"
    assert str(refusal.value) == "an agent of U2 has too few signers among its neighbours"


def _setup() -> ServerSetup:
    return ServerSetup(CTX, PARAMS, {agent.id: agent.public for agent in AGENTS})


def _masked(cohort: Cohort, u3: frozenset[bytes]) -> Masked:
    keys = dict.fromkeys(IDS, bytes(32))
    weights = dict.fromkeys(IDS, 1)
    return Masked(cohort, frozenset(IDS), u3, keys, weights, keys, zeros(PARAMS.lanes, 32))


def _problems(cohort: Cohort, live: frozenset[bytes], u3: frozenset[bytes]):
    """What each of the server's stages says of these live agents; the last may sum fewer."""
    shares = CollectShares(_setup(), cohort, {}, ())
    shares._replies = dict.fromkeys(live)
    masked = CollectMasked(_setup(), cohort, {}, dict.fromkeys(IDS))
    masked._u3 = set(live)
    agreements = CollectAgreements(_setup(), _masked(cohort, u3))
    agreements._signatures = dict.fromkeys(live, b"")
    return {
        stage: of._problem() for stage, of in (("U2", shares), ("U3", masked), ("V", agreements))
    }


def _told(problem: Aborted | None) -> tuple[str, str, bytes | None]:
    assert isinstance(problem, Aborted)
    return problem.code, str(problem), problem.agent


def test_the_server_stops_at_every_stage_where_a_window_is_too_thin():
    cohort = _cohort()
    _, live = _thinned(cohort, cohort.solution.h, forward=False)
    first = {name: cohort.narrow(live, of) for name, of in (("U2", live), ("U3", live), ("V", IDS))}
    for name, problem in _problems(cohort, live, frozenset(IDS)).items():
        listed = list(first[name])
        code, sentence, agent = _told(problem)
        assert code == "WINDOW"
        assert sentence == f"{name}: {len(listed)} half windows are too thin (agent {agent.hex()})"
        assert agent in listed
    assert _told(lacking(cohort, live, live, IDS, "V"))[2] == cohort.narrow(live, IDS)[0]


def test_windows_of_agents_outside_the_sum_do_not_matter():
    cohort = _cohort()
    _, live = _thinned(cohort, cohort.solution.h, forward=True)
    summed = live - set(cohort.narrow(live, IDS))
    assert lacking(cohort, live, frozenset(IDS), summed, "V") is None
    assert _problems(cohort, live, summed)["V"] is None


def test_the_server_stops_where_an_agent_of_u2_has_too_few_neighbours():
    cohort = _cohort()
    t = cohort.solution.t
    near = cohort.neighbours(IDS[5])
    live = frozenset(IDS) - set(near[: len(near) - t + 1])
    thin = cohort.thin(live, IDS)
    problem = lacking(cohort, live, IDS, live, "U3")
    assert _told(problem) == (
        "QUORUM",
        f"U3: {len(thin)} agents have fewer than {t} live neighbours (agent {thin[0].hex()})",
        thin[0],
    )


def test_the_server_stops_below_the_quorum():
    cohort = _cohort()
    quorum = cohort.solution.quorum
    few = frozenset(IDS[: quorum - 1])
    problem = lacking(cohort, few, few, few, "V")
    assert _told(problem) == ("QUORUM", f"V: {quorum - 1} agents, {quorum} are needed", None)


def test_the_server_counts_answers_per_agent_before_it_unmasks():
    cohort = _cohort()
    stage = CollectUnmasking(_setup(), _masked(cohort, frozenset(IDS)), dict.fromkeys(IDS, b""))
    stage._answered = set(IDS)
    assert stage._problem() is None
    near = cohort.neighbours(IDS[5])
    stage._answered = set(IDS) - set(near[: len(near) - cohort.solution.t + 1])
    thin = cohort.thin(stage._answered, IDS)
    code, sentence, agent = _told(stage._problem())
    assert (code, agent in thin) == ("QUORUM", True)
    assert sentence == f"{len(thin)} agents lack shares to unmask them (agent {agent.hex()})"


def test_fewer_agents_than_n_min_are_told_first():
    cohort = _cohort()
    few = frozenset(IDS[:59])
    for name, problem in list(_problems(cohort, few, few).items())[:2]:
        assert _told(problem) == (
            "COHORT_TOO_SMALL", f"{name} has 59 of at least 60 agents", None,
        )  # fmt: skip


def test_bitmaps_of_any_set_are_read_back():
    cohort = _cohort()
    for chosen in (frozenset(IDS), frozenset(), frozenset(IDS[::3]), frozenset(IDS[-1:])):
        assert len(cohort.bitmap(chosen)) == 17
        assert cohort.read_bitmap(cohort.bitmap(chosen)) == chosen


def test_neighbours_are_counted_in_integers():
    cohort = _cohort()
    everyone = np.ones(N, np.bool_)
    counts = (cohort.graph.count(everyone), *cohort.graph.windows(everyone))
    assert {of.dtype for of in counts} == {np.dtype(np.int64)}
