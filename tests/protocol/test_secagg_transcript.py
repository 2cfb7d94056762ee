"""The five-agent transcript of vectors/v2, byte for byte, through the real sessions and stages."""

import functools
import hashlib
import subprocess
import sys

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from secagg_bench import STAGES, VECTORS, ask, vectors

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import agent_id
from edgeveil.shared.secagg.client.session import ClientPolicy, ClientSession
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.server.stages import CollectAdverts, ServerSetup

V = vectors()
T = vectors("v2/transcript")
raw = bytes.fromhex
POLICY = ClientPolicy(n_min=3, n_max=16, gamma_ppm=100_000, c_min=1, sigma=80)


class _Signer:
    def __init__(self, index: int) -> None:
        secret = hashlib.sha256(f"edgeveil-kat/identity/{index}".encode()).digest()
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def _random(index: int):
    """c, s, b and the coefficient rows, in the order the protocol draws them."""
    names = [f"c/{index}", f"s/{index}", f"b/{index}"]
    drawn = [hashlib.sha256(f"edgeveil-kat/{name}".encode()).digest() for name in names]
    rows = [hashlib.sha512(f"edgeveil-kat/coeff/{index}/{row}".encode()) for row in (1, 2)]
    drawn.append(b"".join(row.digest() for row in rows))

    def read(size: int) -> bytes:
        chunk = drawn.pop(0)
        assert len(chunk) == size
        return chunk

    return read


@functools.cache
def played():
    ctx, params = raw(T["ctx"]), Params.decode(raw(V["ctx"]["params"]["bytes"]))
    members = {raw(m["agent_id"]): raw(m["public"]) for m in V["ctx"]["roster"]["members"]}
    sessions = {
        raw(agent["agent_id"]): ClientSession(
            ctx=ctx,
            params=params,
            members=members,
            signer=_Signer(agent["index"]),
            policy=POLICY,
            vector=np.array(agent["input"], np.int64),
            random=_random(agent["index"]),
        )
        for agent in T["agents"]
    }
    stage, replies = CollectAdverts(ServerSetup(ctx, params, members)), {}
    dropped = raw(T["dropped_after_share"])
    for name in STAGES:
        bodies = dict.fromkeys(sessions, b"") if name == "advert" else stage.requests()
        for agent, body in bodies.items():
            if agent == dropped and name == "masked":
                stage.drop(agent)
                continue
            reply, bulk = ask(sessions[agent], name, body)
            replies[name, agent] = (body, reply, bulk)
            stage.accept(agent, reply, bulk)
        stage = stage.close()
    return stage, replies


def _result():
    return played()[0]


def _replies():
    return played()[1]


def test_adverts_are_the_published_ones():
    for agent in T["agents"]:
        advert = messages.Advert.decode(_replies()["advert", raw(agent["agent_id"])][1])
        assert advert.agent_id == agent_id(raw(agent["identity_public"]))
        assert advert.channel_key.hex() == agent["c_public"]
        assert advert.mask_key.hex() == agent["s_public"]
        assert advert.signature.hex() == agent["advert_signature"]


def test_cohort_graph_and_echo_are_the_published_ones():
    for agent in T["agents"]:
        body = _replies()["share", raw(agent["agent_id"])][0]
        request = messages.ShareRequest.decode(body, 16)
        assert [one.hex() for one, _ in request.cohort] == T["u1"]
        hashes = {one.hex(): advert.hex() for one, advert in request.cohort}
        assert hashes[agent["agent_id"]] == agent["advert_hash"]
        assert [peer.agent_id.hex() for peer in request.neighbours] == agent["neighbours"]
        assert (request.k, request.t, request.h, request.quorum) == (T["k"], T["t"], 0, T["Q"])


def test_sealed_shares_are_the_published_ones():
    for agent in T["agents"]:
        reply = messages.ShareReply.decode(_replies()["share", raw(agent["agent_id"])][1], 16)
        assert {to.hex(): sealed.hex() for to, sealed, _ in reply.sealed} == agent["ciphertexts"]
        assert {to.hex(): both.hex() for to, _, both in reply.sealed} == agent["commitments"]
        assert reply.signature.hex() == agent["shares_signature"]


def test_masked_vectors_are_the_published_ones():
    for agent in T["agents"]:
        if agent["agent_id"] == T["dropped_after_share"]:
            continue
        request, reply, vector = _replies()["masked", raw(agent["agent_id"])]
        assert messages.MaskedRequest.decode(request, 16).u2.hex() == T["u2_bitmap"]
        assert bytes(vector).hex() == agent["masked"]
        assert messages.MaskedReply.decode(reply).signature.hex() == agent["masked_signature"]


def test_agreement_and_unmasking_are_the_published_ones():
    for agent in T["agents"]:
        if agent["agent_id"] == T["dropped_after_share"]:
            continue
        request, reply, _ = _replies()["agree", raw(agent["agent_id"])]
        assert messages.AgreeRequest.decode(request).u3.hex() == T["u3_bitmap"]
        assert messages.AgreeReply.decode(reply).signature.hex() == agent["agree_signature"]
        unmask = messages.UnmaskReply.decode(_replies()["unmask", raw(agent["agent_id"])][1], 16)
        assert messages.share_list(unmask.shares).hex() == agent["unmask_entries"]
        assert unmask.signature.hex() == agent["unmask_signature"]


def test_result_is_the_published_one():
    assert _result().lanes.tolist() == T["sum_decoded"]
    assert (_result().lanes % (1 << 16)).tolist() == T["sum_lanes"]
    assert _result().u1_hash.hex() == T["u1_hash"]
    assert _result().u2_hash.hex() == T["u2_hash"]
    assert _result().u3_hash.hex() == T["u3_hash"]
    assert _result().result_hash.hex() == T["result_hash"]
    assert [one.hex() for one in _result().u1] == T["u1"]
    assert raw(T["dropped_after_share"]) not in _result().u3
    assert _result().liars == ()


def test_the_file_is_what_the_independent_script_writes():
    script = [sys.executable, str(VECTORS.parents[1] / "scripts/make_transcript.py"), "--check"]
    assert subprocess.run(script).returncode == 0


def test_segments_of_the_result():
    assert _result().segment("weight").tolist() == [4]
    assert _result().segment("metrics").tolist() == T["sum_decoded"][1:3]
    assert _result().segment("params").tolist() == T["sum_decoded"][3:]
