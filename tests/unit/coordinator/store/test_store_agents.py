"""Invites, agents, roster and ledger heads in the database."""

import os
import traceback
from dataclasses import replace

import pytest
from enrollment_bench import NOW, Device
from sqlalchemy.exc import IntegrityError
from store_bench import add_agent

from edgeveil.coordinator.records.records import Invite, InviteState
from edgeveil.shared.base.errors import ConfigError, EnrollmentError
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.roster import Roster, SignedRoster, federation_id

FEDERATION = Identity.generate()


def invite(name, token_id=None):
    return Invite(token_id or os.urandom(16), name, b"k" * 32, 100, InviteState.OPEN)


def signed_roster(epoch, *devices):
    members = {device.agent_id: device.identity.public for device in devices}
    roster = Roster(federation_id(FEDERATION.public), epoch, 1, 2, members)
    return SignedRoster.sign(roster, FEDERATION)


def test_a_new_invite_replaces_the_unused_one_of_its_name(store):
    first, second = invite("a"), invite("a")
    store.replace_invites([first, invite("b")])
    store.replace_invites([second])
    assert store.invite(first.token_id) is None
    assert {one.name: one.token_id for one in store.invites()}["a"] == second.token_id
    assert len(store.invites()) == 2


def test_inviting_an_enrolled_name_stores_none_of_the_batch(store):
    add_agent(store, Device().enrolled("taken"))
    with pytest.raises(EnrollmentError, match="taken"):
        store.replace_invites([invite("fresh"), invite("taken")])
    assert store.invites() == []


def test_an_invite_is_used_once_and_never_deleted_after(store):
    one, device = invite("a"), Device()
    store.replace_invites([one])
    store.redeem(one.token_id, device.enrolled("a"))
    used = store.invite(one.token_id)
    assert (used.state, used.agent_id) == (InviteState.USED, device.agent_id)
    with pytest.raises(EnrollmentError):
        store.redeem(one.token_id, Device().enrolled("b"))
    assert [agent.name for agent in store.agents()] == ["a"]


def test_a_void_invite_enrols_nobody(store):
    one = invite("a")
    store.replace_invites([one])
    assert [store.count_wrong_proof(one.token_id, limit=3) for _ in range(5)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(EnrollmentError, match="not open"):
        store.redeem(one.token_id, Device().enrolled("a"))
    assert store.agents() == []


@pytest.mark.parametrize("same", ["name", "identity", "node_public"])
def test_no_two_agents_share_a_name_or_a_key(store, same):
    device, other = Device(), Device()
    add_agent(store, device.enrolled("a"))
    twin = other.enrolled("a" if same == "name" else "b")
    if same == "identity":
        twin = replace(device.enrolled("b"), node_public=other.node_public)
    elif same == "node_public":
        twin = replace(twin, node_public=device.node_public)
    with pytest.raises(EnrollmentError, match="enrolled already"):
        add_agent(store, twin)


def test_a_revoked_agent_stays_out_while_its_name_can_be_given_again(store):
    old, new = Device(), Device()
    add_agent(store, old.enrolled("cam"))
    assert store.revoke("cam").revoked == NOW
    add_agent(store, new.enrolled("cam"))
    assert [agent.agent_id for agent in store.agents()] == [new.agent_id]
    assert {agent.agent_id for agent in store.agents(include_revoked=True)} == {
        old.agent_id,
        new.agent_id,
    }
    with pytest.raises(EnrollmentError):
        add_agent(store, old.enrolled("cam-2"))
    with pytest.raises(ConfigError, match="no agent named 'x'"):
        store.revoke("x")


def test_members_are_those_on_the_roster_and_not_revoked(store):
    a, b, c = Device(), Device(), Device()
    for name, device in (("a", a), ("b", b), ("c", c)):
        add_agent(store, device.enrolled(name))
    assert store.members() == []
    store.save_roster(signed_roster(1, a, b))
    assert [agent.name for agent in store.members()] == ["a", "b"]
    store.revoke("a")
    assert [agent.name for agent in store.members()] == ["b"]


def test_the_roster_only_moves_forward(store):
    assert (store.roster(), store.next_epoch()) == (None, 1)
    second = signed_roster(2, Device())
    store.save_roster(second)
    store.save_roster(second)
    assert (store.roster(), store.next_epoch()) == (second, 3)
    for older in (signed_roster(1, Device()), signed_roster(2, Device())):
        with pytest.raises(EnrollmentError, match="not above the present 2"):
            store.save_roster(older)
    assert store.roster() == second


def test_a_ledger_head_is_kept_per_agent(store):
    a, b = Device(), Device()
    add_agent(store, a.enrolled("a"))
    add_agent(store, b.enrolled("b"))
    store.set_ledger_head(a.agent_id, b"head-1")
    store.set_ledger_head(a.agent_id, b"head-2")
    assert [store.ledger_head(x) for x in (a.agent_id, b.agent_id, b"?" * 16)] == [
        b"head-2",
        b"",
        b"",
    ]


def test_no_error_shows_what_was_stored(store):
    one = replace(invite("canary-name"), proof_key=b"CANARY-KEY-CANARY-KEY-CANARY-KEY")
    with pytest.raises(IntegrityError) as caught:
        store.replace_invites([one, one])
    assert "canary" not in "".join(traceback.format_exception(caught.value)).lower()
