"""A lying coordinator against whole agents: an attempt of the real driver, of which a test alters what it likes.

Every lie is signed by the real coordinator key, so only the agent's own checks stand against it.
"""

from dataclasses import replace

from fakes_federation import machine_of, proposal_of

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.wire.messages import (
    Attempt,
    MaskedAccept,
    RoundAccept,
    RoundOffer,
    Stage,
    make_request,
    refusal_fits,
)


class Lies:
    """One attempt whose honest part is composed by the real driver."""

    number = 0

    def __init__(self, federation, plan, *, attempt=None, selected=None):
        self.federation = federation
        self.driver, _ = federation.driver(plan)
        Lies.number += 1
        self.attempt = attempt or Attempt(self.driver.run.run_id, Lies.number, 1)
        self.selected = selected or tuple(sorted(federation.sessions))
        self.proposal = proposal_of(self.driver, self.attempt, self.selected)
        self.machine = machine_of(self.driver, self.proposal)
        self.offers = self.proposal.offers({}, self.selected)
        self.victim = self.selected[0]
        self.session = federation.sessions[self.victim]
        self.home = next(h for h in federation.homes if h.pinned().agent_id == self.victim)
        self.before = read_budget(self.home.path)
        federation.statuses.clear()

    def signed(self, stage, body, bulk=None, attempt=None):
        signer = self.federation.coordinator
        return make_request(signer, self.victim, stage, attempt or self.attempt, body, bulk)

    def offer(self, *, bulk=None, attempt=None, ctx=None, **changes):
        """The victim's offer with other fields, opened again by the coordinator's own signature."""
        honest = RoundOffer.decode(self.offers[self.victim].body)
        if ctx is not None:
            opened = self.federation.coordinator.sign(context.open_message(ctx))
            changes["open_signature"] = opened
        body = replace(honest, **changes).encode()
        return self.signed(
            Stage.ROUND, body, self.offers[self.victim].bulk if bulk is None else bulk, attempt
        )

    def until(self, last):
        """Play honestly to the exchange before `last`; the requests the machine wants sent for it."""
        (action,) = self.machine.start(0.0)
        while action.stage is not last:
            following = []
            for agent in action.agents:
                request = (
                    self.offers[agent]
                    if action.stage is Stage.ROUND
                    else make_request(
                        self.federation.coordinator,
                        agent,
                        action.stage,
                        self.attempt,
                        action.bodies[agent],
                    )
                )
                reply = self.federation.sessions[agent].handle(request)
                assert reply.refusal is None, reply.refusal
                body = reply.body
                if action.stage is Stage.ROUND:
                    body = RoundAccept.decode(body).advert
                if action.stage is Stage.MASKED:
                    body = MaskedAccept.decode(body).masked
                following += self.machine.reply(agent, action.stage, body, reply.bulk, 0.0)
            (action,) = following
        return action.bodies[self.victim]

    def refused(self, request, code, *, charged, words=""):
        """Send the lie; check reply, ledger, status, and that the session is over."""
        reply = self.session.handle(request)
        assert reply.refusal == code
        assert reply.bulk is None
        assert refusal_fits(reply.refusal, reply.body)
        spent = read_budget(self.home.path)
        assert spent.rounds == self.before.rounds + charged
        assert (spent.epsilon_spent > self.before.epsilon_spent) == bool(charged)
        told = [status for status in self.federation.statuses if f"refused ({code})" in status]
        assert told
        assert words in told[-1]
        return reply

    def over(self, stage, body):
        """The honest request of the attempt that was lied about gets nothing any more."""
        assert self.session.handle(self.signed(stage, body)).refusal == "STATE"
