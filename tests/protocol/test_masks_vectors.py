"""Every known answer in tests/vectors/v1/masks.json."""

import hashlib

import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from secagg_bench import vectors

from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.agreement.cohort import Cohort, agent_id
from edgeveil.shared.secagg.agreement.graph import Graph
from edgeveil.shared.secagg.primitives import keys, mask, ring, shamir
from edgeveil.shared.secagg.primitives.canonical import canon, digest, list_bytes, parse, parse_list
from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.parameters import CIPHERS, Params, Segment
from edgeveil.shared.secagg.primitives.solver import solve
from edgeveil.shared.vector.quantization import round_with
from edgeveil.shared.wire.canonical import canon as app_canon
from edgeveil.shared.wire.roster import Roster, SignedRoster

V = vectors()
CTX = V["ctx"]
raw = bytes.fromhex


def _params() -> Params:
    fields = {key: value for key, value in CTX["params"].items() if key != "bytes"}
    return Params(**fields | {"segments": tuple(Segment(**one) for one in fields["segments"])})


@pytest.mark.parametrize("case", V["canonical"])
def test_canonical_bytes_have_one_spelling(case):
    if "list" in case:
        items = [raw(item) for item in case["list"]]
        assert list_bytes(items).hex() == case["list_bytes"]
        assert parse_list(list_bytes(items), most=3) == items
        return
    fields = [raw(field) for field in case["fields"]]
    encoded = canon(case["label"], *fields)
    assert encoded.hex() == case["canon"]
    assert digest(case["label"], *fields).hex() == case["sha256"]
    assert parse(case["label"], encoded, len(fields)) == fields


def test_application_labels_never_equal_protocol_labels():
    assert app_canon("ctx", b"x") != canon("ctx", b"x")


def test_the_salt_is_the_one_written_down():
    assert keys.SALT.hex() == V["hkdf_salt"]


def test_roster_body_hash_and_signature():
    roster = CTX["roster"]
    members = {raw(m["agent_id"]): raw(m["public"]) for m in roster["members"]}
    assert all(agent_id(public) == agent for agent, public in members.items())
    built = Roster(
        raw(CTX["federation_id"]), roster["epoch"], roster["issued"], roster["expires"], members
    )
    assert built.body().hex() == roster["body"]
    assert built.hash().hex() == roster["roster_hash"]
    signed = SignedRoster.open(
        raw(roster["body"]), raw(roster["signature"]), raw(CTX["federation_public"])
    )
    assert signed.roster == built


def test_params_encode_and_decode():
    assert _params().encode().hex() == CTX["params"]["bytes"]
    assert Params.decode(raw(CTX["params"]["bytes"])) == _params()


def test_model_task_config_and_context_hashes():
    model, task = CTX["model"], CTX["task"]
    values = np.array(model["values"], "<f4").tobytes()
    assert values.hex() == model["raw"]
    tensor = (model["name"], model["dtype"], tuple(model["shape"]), values)
    assert context.model_hash([tensor]).hex() == model["model_hash"]
    assert (
        context.task_hash(task["id"], task["version"], raw(task["code_hash"])).hex()
        == task["task_hash"]
    )
    config = context.config_hash(raw(CTX["params"]["bytes"]), CTX["plan_json"].encode())
    assert config.hex() == CTX["config_hash"]
    ctx = context.context(
        federation_id=raw(CTX["federation_id"]),
        run_id=CTX["run_id"],
        round_number=CTX["round"],
        attempt=CTX["attempt"],
        shard=CTX["shard"],
        task_hash=raw(task["task_hash"]),
        model_hash=raw(model["model_hash"]),
        config_hash=config,
        roster_hash=raw(CTX["roster"]["roster_hash"]),
    )
    assert ctx.hex() == CTX["ctx"]
    assert hashlib.sha256(raw(CTX["canon"])).digest() == ctx


def test_opening_message_and_signature():
    opened = CTX["open"]
    message = context.open_message(raw(CTX["ctx"]))
    assert message.hex() == opened["message"]
    key = Ed25519PrivateKey.from_private_bytes(raw(opened["coordinator_secret"]))
    assert key.sign(message).hex() == opened["signature"]
    keys.verifies(raw(opened["coordinator_public"]), raw(opened["signature"]), message)


def test_ed25519_signature_and_its_refusal():
    case = V["ed25519"]
    message = canon(case["message_label"], *(raw(field) for field in case["message_fields"]))
    assert message.hex() == case["message"]
    keys.verifies(raw(case["public"]), raw(case["signature"]), message)
    with pytest.raises(InvalidSignature):
        keys.verifies(raw(case["public"]), raw(case["signature"]), message + b"\x00")
    with pytest.raises(InvalidSignature):
        keys.verifies(b"short", raw(case["signature"]), message)


@pytest.mark.parametrize("case", V["x25519_hkdf"])
def test_channel_and_pair_mask_keys_of_both_sides(case):
    one, two = keys.KeyPair(raw(case["secret_i"])), keys.KeyPair(raw(case["secret_j"]))
    assert (one.public.hex(), two.public.hex()) == (case["public_i"], case["public_j"])
    assert one.exchange(two.public).hex() == case["shared"] == two.exchange(one.public).hex()
    scope = {"ctx": raw(case["ctx"]), "u1_hash": raw(case["u1_hash"])}
    ids = {"own_id": raw(case["id_i"]), "other_id": raw(case["id_j"])}
    back = {"own_id": raw(case["id_j"]), "other_id": raw(case["id_i"])}
    assert keys.pair_mask_key(one, two.public, **scope, **ids).hex() == case["pair_mask_key"]
    assert keys.pair_mask_key(two, one.public, **scope, **back).hex() == case["pair_mask_key"]
    due = (case["channel_i_to_j"], case["channel_j_to_i"])
    assert tuple(k.hex() for k in keys.channel_keys(one, two.public, **scope, **ids)) == due
    assert tuple(k.hex() for k in keys.channel_keys(two, one.public, **scope, **back)) == due[::-1]


def test_self_mask_key():
    case = V["self_mask_key"]
    key = keys.self_mask_key(
        raw(case["b"]),
        ctx=raw(case["ctx"]),
        u1_hash=raw(case["u1_hash"]),
        agent_id=raw(case["id"]),
    )
    assert key.hex() == case["key"]


@pytest.mark.parametrize("public", V["x25519_reject"])
def test_small_order_points_are_refused(public):
    with pytest.raises(keys.BadKey):
        keys.KeyPair(bytes(range(32))).exchange(raw(public))
    with pytest.raises(keys.BadKey):
        keys.check_public(raw(public))


@pytest.mark.parametrize("case", V["mask"])
def test_masks_across_chunk_borders(case):
    lanes = mask.expand(
        raw(case["key"]), case["lanes"], case["bits"], cipher=CIPHERS[case["prg_id"]]
    )
    assert {place: int(lanes[int(place)]) for place in case["samples"]} == case["samples"]
    packed = ring.pack(lanes, case["bits"])
    assert hashlib.sha256(packed).hexdigest() == case["sha256_packed"]


@pytest.mark.parametrize("case", V["mask_seek"])
def test_masks_from_the_middle(case):
    lanes = mask.expand(
        raw(case["key"]),
        len(case["values"]),
        case["bits"],
        cipher=CIPHERS[case["prg_id"]],
        start=case["first_lane"],
    )
    assert lanes.tolist() == case["values"]


def test_field_products():
    for a, b, product in V["shamir"]["mul"]:
        assert shamir.PRODUCT[a, b] == product


def test_shares_of_the_small_and_the_full_polynomial():
    small, full = V["shamir"]["small"], V["shamir"]["full"]
    drawn = raw("".join(small["coefficients"]))
    shares = shamir.split(raw(small["secret"]), 3, small["x"], lambda _: drawn)
    assert [shares[x].hex() for x in small["x"]] == small["shares"]
    drawn = raw("".join(full["coefficients"]))
    shares = shamir.split(raw(full["secret"]), full["t"], range(1, full["n"] + 1), lambda _: drawn)
    assert {str(x): share.hex() for x, share in shares.items()} == full["shares"]
    chosen = {x: shares[x] for x in full["reconstruct_from"]}
    assert shamir.combine(chosen).hex() == full["secret"]
    assert shamir.combine(chosen, at=2) == shares[2]


def test_a_threshold_of_one_shares_the_secret_itself():
    case = V["shamir"]["t1"]
    shares = shamir.split(raw(case["secret"]), case["t"], range(1, case["n"] + 1), lambda _: b"")
    assert {str(x): share.hex() for x, share in shares.items()} == case["shares"]


@pytest.mark.parametrize("case", V["solver"])
def test_solver(case):
    fields = {key: value for key, value in case.items() if key not in {"n", "result"}}
    gamma, delta = fields.pop("gamma_ppm"), fields.pop("delta_ppm")
    if case["result"] is None:
        with pytest.raises(Infeasible, match="shards"):
            solve(case["n"], gamma, delta, **fields)
        return
    found = solve(case["n"], gamma, delta, **fields)
    due = case["result"]
    assert (found.k, found.t, found.c, found.d) == (due["k"], due["t"], due["c"], due["d"])
    assert (found.h, found.quorum) == (due["h"], due["Q"])


def test_sparse_graph_of_130():
    case = V["graph"]
    n = case["n"]
    made = [
        agent_id(hashlib.sha256(f"edgeveil-kat/graph-id/{i}".encode()).digest()) for i in range(n)
    ]
    assert hashlib.sha256(b"".join(made)).hexdigest() == case["ids_sha256"]
    ids = sorted(made)
    ctx, u1_hash = raw(case["seed_input"]["ctx"]), raw(case["seed_input"]["u1_hash"])
    assert digest("graph-seed", ctx, u1_hash).hex() == case["seed"]
    found = solve(
        n,
        case["gamma_ppm"],
        case["delta_ppm"],
        sigma=case["sigma"],
        eta=case["eta"],
        c_min=case["c_min"],
    )
    assert (found.k, found.t, found.h, found.quorum) == tuple(case[key] for key in "kthQ")
    graph = Graph(ids, ctx, u1_hash, found.k)
    order = [ids[rank] for rank in graph.order]
    assert [one.hex() for one in order[:3]] == case["ring_first3"]
    assert hashlib.sha256(b"".join(order)).hexdigest() == case["ring_order_sha256"]
    adjacency = [[ids[other] for other in graph.neighbours(rank)] for rank in range(n)]
    first = adjacency[ids.index(made[0])]
    assert [one.hex() for one in first] == case["neighbours_of_id0"]
    listed = b"".join(ids[rank] + list_bytes(adjacency[rank]) for rank in range(n))
    assert hashlib.sha256(listed).hexdigest() == case["adjacency_sha256"]


def test_bitmap():
    case = V["bitmap"]
    ids = [bytes([i]) * 16 for i in range(case["n"])]
    cohort = Cohort(bytes(32), [(one, bytes(32)) for one in ids], _params())
    members = [ids[place] for place in case["members"]]
    assert cohort.bitmap(members).hex() == case["bytes"]
    assert cohort.read_bitmap(raw(case["bytes"])) == frozenset(members)


@pytest.mark.parametrize("case", V["packing"])
def test_packing(case):
    values = np.array(case["values"], np.int64)
    lanes = values.astype(np.uint16 if case["bits"] == 16 else np.uint32)
    assert bytes(ring.pack(lanes, case["bits"])).hex() == case["packed"]
    back = ring.unpack(raw(case["packed"]), len(values), case["bits"])
    modulus = 1 << case["bits"]
    assert back.tolist() == [value % modulus for value in case["values"]]


@pytest.mark.parametrize("case", V["quantise"]["cases"])
def test_quantiser(case):
    rounded = round_with(
        np.array([case["v"]]), np.array([case["u"]]), V["quantise"]["step"], V["quantise"]["q"]
    )
    assert rounded.tolist() == [case["z"]]
