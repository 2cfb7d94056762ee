"""The primitives against their standards: RFC 7748, 8032, 5869, 8439 and SP 800-38A."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeveil.shared.secagg.primitives import keys, mask
from edgeveil.shared.secagg.primitives.canonical import canon

raw = bytes.fromhex


def test_x25519_of_rfc_7748_section_5_2():
    scalar = raw("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = raw("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    due = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert keys.KeyPair(scalar).exchange(point).hex() == due


def test_ed25519_of_rfc_8032_section_7_1():
    secret = raw("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = raw("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a")
    keys.verifies(public, signature, b"")


def test_derive_is_hkdf_of_rfc_5869():
    ikm, info = b"\x0b" * 22, canon("channel", b"a", b"b")
    extracted = hmac.digest(keys.SALT, ikm, "sha256")
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    second = hmac.digest(extracted, first + info + b"\x02", "sha256")
    assert keys.derive(ikm, 64, "channel", b"a", b"b") == first + second


def test_aes_256_ctr_of_sp_800_38a_f_5_5():
    key = raw("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16)
    lanes = mask.expand(key, 4, 32, start=counter * 4)
    assert lanes.tobytes().hex() == "0bdf7df1591716335e9a8b15c860c502"


@pytest.mark.parametrize(
    ("start", "keystream"),
    [
        (0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"),
        (16, "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"),
    ],
)
def test_chacha20_of_rfc_8439_a_1(start, keystream):
    lanes = mask.expand(bytes(32), 8, 32, cipher="chacha20", start=start)
    assert lanes.tobytes().hex() == keystream


def test_h_is_sha_256_of_the_canonical_bytes():
    spelled = b"\x16edgeveil/secagg-v1/ctx\x01\x00\x00\x00\x01x"
    assert canon("ctx", b"x") == spelled
    assert hashlib.sha256(spelled).hexdigest() != hashlib.sha256(canon("ctx")).hexdigest()


@pytest.mark.parametrize(
    "public",
    [
        bytes(31),
        b"\xff" * 32,
        ((1 << 255) - 19).to_bytes(32, "little"),
        (9 + (1 << 255)).to_bytes(32, "little"),
    ],
    ids=["short", "ones", "the prime", "nine with the unused bit"],
)
def test_a_public_key_has_one_spelling(public):
    with pytest.raises(keys.BadKey):
        keys.check_public(public)


def test_the_keys_of_small_order_are_those_whose_exchanges_give_zero():
    """Of order 8, 4 and 2, so that their doubles are of order 4, 2 or 1."""
    prime, a = (1 << 255) - 19, 486_662

    def double(u: int) -> int:  # RFC 7748 in affine form; 0 stands for the neutral element too
        below = 4 * u * (u * u + a * u + 1)
        return (u * u - 1) ** 2 * pow(below, -1, prime) % prime if below % prime else 0

    points = {int.from_bytes(one, "little") for one in keys.SMALL_ORDER}
    assert {double(u) for u in points} == {0, 1}
    assert len(points) == 5
    for public in keys.SMALL_ORDER:
        with pytest.raises(keys.BadKey, match="a public key of small order"):
            keys.check_public(public)
        for secret in (bytes(range(32)), b"\xa5" * 32):
            with pytest.raises(keys.BadKey, match="a public key of small order"):
                keys.KeyPair(secret).exchange(public)


def test_an_honest_key_passes():
    keys.check_public(keys.KeyPair(bytes(range(32))).public)
