"""Write tests/vectors/v2/transcript.json: one attempt of five agents, spelled out from docs/protocol.md.

    python scripts/make_transcript.py            # rewrite the file
    python scripts/make_transcript.py --check    # exit 1 if the file differs from what this writes

Nothing of the package is used, so that the file says what the protocol is and not what the code does.
Secrets are SHA-256('edgeveil-kat/' + name), coefficient rows SHA-512 of the same. ctx and roster are
those of tests/vectors/v1/masks.json; one agent is lost after it has dealt its shares.
"""

import argparse
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VECTORS = Path(__file__).resolve().parents[1] / "tests" / "vectors"
FILE = VECTORS / "v2" / "transcript.json"
KNOWN = json.loads((VECTORS / "v1" / "masks.json").read_text())
CTX = bytes.fromhex(KNOWN["ctx"]["ctx"])
N, K, T, QUORUM, LOST = 5, 4, 3, 4, 2
LANES, RING = 13, 1 << 16
WEIGHT = 1  # in every advert, 4 bytes big-endian
ABOUT = (
    "A whole attempt of secagg-v1 under protocol version 2 (hex): five agents, t = 3, one lost between "
    "M2 and M3. Written by scripts/make_transcript.py, which uses nothing of the package."
)


def kat(name: str) -> bytes:
    return hashlib.sha256(f"edgeveil-kat/{name}".encode()).digest()


def canon(label: str, *fields: bytes) -> bytes:
    name = f"edgeveil/secagg-v1/{label}".encode()
    spelled = bytes([len(name)]) + name + bytes([len(fields)])
    return spelled + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def digest(label: str, *fields: bytes) -> bytes:
    return hashlib.sha256(canon(label, *fields)).digest()


def listed(items: list[bytes]) -> bytes:
    spelled = b"".join(len(item).to_bytes(4, "big") + item for item in items)
    return len(items).to_bytes(4, "big") + spelled


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def kdf(ikm: bytes, length: int, label: str, *fields: bytes) -> bytes:
    pseudo = hmac.new(b"edgeveil/secagg-v1", ikm, "sha256").digest()
    block, out = b"", b""
    for number in (1, 2):
        block = hmac.new(pseudo, block + canon(label, *fields) + bytes([number]), "sha256").digest()
        out += block
    return out[:length]


def times(a: int, b: int) -> int:
    """The product in GF(2^8), polynomial 0x11b."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def share(secret: bytes, rows: list[bytes], x: int) -> bytes:
    value = bytes(len(secret))
    for row in reversed(rows):
        value = bytes(times(v ^ r, x) for v, r in zip(value, row, strict=True))
    return bytes(v ^ s for v, s in zip(value, secret, strict=True))


def keystream(key: bytes) -> list[int]:
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(2 * LANES))
    return [int.from_bytes(stream[2 * i : 2 * i + 2], "little") for i in range(LANES)]


def packed(lanes: list[int]) -> bytes:
    return b"".join((lane % RING).to_bytes(2, "little") for lane in lanes)


class Agent:
    def __init__(self, index: int) -> None:
        self.index = index
        self.identity = Ed25519PrivateKey.from_private_bytes(kat(f"identity/{index}"))
        self.public = self.identity.public_key().public_bytes_raw()
        self.id = digest("agent-id", self.public)[:16]
        self.channel = X25519PrivateKey.from_private_bytes(kat(f"c/{index}"))
        self.mask = X25519PrivateKey.from_private_bytes(kat(f"s/{index}"))
        self.c = self.channel.public_key().public_bytes_raw()
        self.s = self.mask.public_key().public_bytes_raw()
        self.advert = self.id, self.c, self.s, WEIGHT.to_bytes(4, "big")
        self.seed = kat(f"b/{index}")
        names = [f"edgeveil-kat/coeff/{index}/{row}" for row in range(1, T)]
        self.rows = [hashlib.sha512(name.encode()).digest() for name in names]

    def shares(self, x: int) -> tuple[bytes, bytes]:
        both = share(self.seed + kat(f"s/{self.index}"), self.rows, x)
        return both[:32], both[32:]


def dealt(owner: Agent, holder: Agent, x: int, u1_hash: bytes) -> tuple[bytes, bytes]:
    """(ciphertext, the two commitments) of what `owner` seals for `holder`."""
    pair = owner.shares(x)
    scope = (CTX, u1_hash, owner.id, holder.id)
    both = [digest("share-commit", *scope, bytes([kind]), pair[kind - 1])[:16] for kind in (1, 2)]
    commitments = b"".join(both)
    lo, hi = sorted((owner.id, holder.id))
    common = owner.channel.exchange(X25519PublicKey.from_public_bytes(holder.c))
    keys = kdf(common, 64, "channel", CTX, u1_hash, lo, hi)
    key = keys[:32] if owner.id == lo else keys[32:]
    plain = bytes([x]) + b"".join(pair)
    return AESGCM(key).encrypt(bytes(12), plain, canon("share", *scope, commitments)), commitments


def vector(rank: int) -> list[int]:
    """Weight, two metrics, ten parameters; any integers do."""
    return [WEIGHT, rank, 3 * rank % 8, *(17 * rank + 13 * lane - 127 for lane in range(10))]


def masked(agent: Agent, lanes: list[int], others: list[Agent], u1_hash: bytes) -> list[int]:
    own = keystream(kdf(agent.seed, 32, "self-mask", CTX, u1_hash, agent.id))
    lanes = [lane + mask for lane, mask in zip(lanes, own, strict=True)]
    for other in others:
        lo, hi = sorted((agent.id, other.id))
        common = agent.mask.exchange(X25519PublicKey.from_public_bytes(other.s))
        pair = keystream(kdf(common, 32, "pair-mask", CTX, u1_hash, lo, hi))
        sign = 1 if agent.id == lo else -1
        lanes = [lane + sign * mask for lane, mask in zip(lanes, pair, strict=True)]
    return lanes


def bitmap(agents: list[Agent], members: list[Agent]) -> bytes:
    return sum(1 << place for place, one in enumerate(agents) if one in members).to_bytes(1, "big")


def transcript() -> dict[str, Any]:
    agents = sorted((Agent(index) for index in range(N)), key=lambda one: one.id)
    adverts = {one.id: digest("advert", CTX, *one.advert) for one in agents}
    u1_hash = digest("u1", CTX, listed([one + advert for one, advert in adverts.items()]))
    left = [one for one in agents if one.index != LOST]
    bits = {"u2": bitmap(agents, agents), "u3": bitmap(agents, left)}
    hashes = {name: digest(name, CTX, u1_hash, bits[name]) for name in bits}
    said = {
        one.id: _said(one, agents, u1_hash, hashes, vector(rank)) for rank, one in enumerate(agents)
    }
    total = [sum(column) for column in zip(*(said[one.id]["input"] for one in left), strict=True)]
    result = digest(
        "result", CTX, u1_hash, hashes["u2"], hashes["u3"], sha(packed(total))
    )  # fmt: skip
    return {
        "about": ABOUT,
        "n": N,
        "k": K,
        "t": T,
        "Q": QUORUM,
        "ctx": CTX.hex(),
        "u1": [one.id.hex() for one in agents],
        "u1_hash": u1_hash.hex(),
        "graph_seed": digest("graph-seed", CTX, u1_hash).hex(),
        "agents": list(said.values()),
        "u2_bitmap": bits["u2"].hex(),
        "u2_hash": hashes["u2"].hex(),
        "dropped_after_share": next(one.id.hex() for one in agents if one.index == LOST),
        "u3_bitmap": bits["u3"].hex(),
        "u3_hash": hashes["u3"].hex(),
        "sum_lanes": [lane % RING for lane in total],
        "sum_decoded": total,
        "result_hash": result.hex(),
    }


def _said(
    one: Agent, agents: list[Agent], u1_hash: bytes, hashes: dict[str, bytes], lanes: list[int]
) -> dict[str, Any]:
    """What one agent publishes, seals and signs; hex."""
    others = [other for other in agents if other is not one]
    sealed = [(peer, *dealt(one, peer, x, u1_hash)) for x, peer in enumerate(others, start=1)]
    items = listed([peer.id + text + commitments for peer, text, commitments in sealed])

    def signed(label: str, *fields: bytes) -> str:
        return one.identity.sign(canon(label, CTX, *fields)).hex()

    said: dict[str, Any] = {
        "index": one.index,
        "agent_id": one.id.hex(),
        "identity_public": one.public.hex(),
        "c_public": one.c.hex(),
        "s_public": one.s.hex(),
        "advert_hash": digest("advert", CTX, *one.advert).hex(),
        "advert_signature": signed("advert", *one.advert),
        "neighbours": [peer.id.hex() for peer in others],
        "ciphertexts": {peer.id.hex(): text.hex() for peer, text, _ in sealed},
        "commitments": {peer.id.hex(): pair.hex() for peer, _, pair in sealed},
        "shares_signature": signed("shares", u1_hash, one.id, sha(items)),
        "input": lanes,
    }
    if one.index == LOST:
        return said
    upload = packed(masked(one, lanes, others, u1_hash))
    revealed = listed([_revealed(peer, one, agents) for peer in others])
    both = (u1_hash, hashes["u2"], hashes["u3"])
    return said | {
        "masked": upload.hex(),
        "masked_signature": signed("masked", u1_hash, hashes["u2"], one.id, sha(upload)),
        "agree_signature": signed("agree", *both),
        "unmask_entries": revealed.hex(),
        "unmask_signature": signed("unmask", *both, one.id, sha(revealed)),
    }


def _revealed(owner: Agent, holder: Agent, agents: list[Agent]) -> bytes:
    """The share of its seed (1), or of its mask key (2) if it was lost."""
    kind = 2 if owner.index == LOST else 1
    x = 1 + [one for one in agents if one is not owner].index(holder)
    return owner.id + bytes([kind]) + owner.shares(x)[kind - 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true")
    text = json.dumps(transcript(), indent=1) + "\n"
    if parser.parse_args().check:
        return int(not FILE.exists() or FILE.read_text() != text)
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
