"""What a connected agent does when the clocks of both sides go back."""

from transport_bench import await_true, federation

from edgeveil.agent.flower_link.retry import SessionOver


def test_when_both_clocks_went_back_it_asks_for_a_new_session_instead_of_waiting():
    with federation(1) as bench:
        (agent,), (node,) = bench.agents, bench.gateway._nodes.all()
        node.forgotten = bench.clock.wall() + 3600  # of an hour that both have given up
        await_true(lambda: agent.error is not None, 120, "it goes on with the old session")
        assert isinstance(agent.error, SessionOver)
        agent.start(bench.url, bench.certificate)
        await_true(lambda: node.forgotten == float("-inf"), 60, "the new session is not taken")
        bench.await_connected()
