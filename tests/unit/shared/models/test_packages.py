"""A model package is read as it was written, or refused in one sentence (docs/models.md, "What is checked")."""

import io
import json
import random
import zipfile

import pytest
from models_bench import KEY, VECTORS, resigned

from edgeveil.shared.base.errors import ConfigError, ModelError, ModelUntrusted
from edgeveil.shared.models import container, package, signature
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.taken import ArrayInput

WHOLE = (VECTORS / "cnn.evm").read_bytes()
PARTS = container.decode(WHOLE, package.NAMES, package.LIMITS)


def refused(data, *words):
    with pytest.raises(ValueError) as caught:
        package.parse_package(data)
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_a_package_of_an_earlier_release_is_read():
    found = package.read_package(VECTORS / "cnn.evm")
    assert found.manifest.task.id == "image-classification"
    assert found.manifest.output.labels == ("apple", "pear", "plum")
    assert found.manifest.origin.fewest_agents == 3
    assert found.manifest.privacy.unit == "record"
    assert len(found.digest) == 64


def test_any_zip_tool_unpacks_it_to_the_same_parts():
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == PARTS
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_what_is_written_again_has_the_same_bytes():
    found = package.parse_package(WHOLE)
    assert resigned(found) == WHOLE
    assert Manifest.decode(found.manifest.encode()) == found.manifest


def test_one_that_was_made_by_another_zip_tool_is_refused():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in PARTS.items():
            archive.writestr(name, data)
    refused(made.getvalue(), "damaged")


@pytest.mark.parametrize("name", package.NAMES)
def test_a_changed_byte_in_any_part_is_refused(name):
    data = bytearray(PARTS[name])
    data[len(data) // 2] ^= 1
    refused(container.encode(PARTS | {name: bytes(data)}))


@pytest.mark.parametrize("name", package.NAMES)
def test_a_missing_part_is_named(name):
    kept = {each: data for each, data in PARTS.items() if each != name}
    refused(container.encode(kept), "not signed" if name == package.SIGNATURE else name)


def test_every_length_but_its_own_is_refused():
    for size in [0, 1, 3, 29, 30, 100, len(WHOLE) // 2, len(WHOLE) - 23, len(WHOLE) - 22, len(WHOLE) - 1]:  # fmt: skip
        refused(WHOLE[:size])
    refused(WHOLE + b"\0", "directory")
    refused(b"\0" + WHOLE, "no package")


def test_nothing_hides_between_the_parts_and_the_directory():
    at = WHOLE.index(container.CENTRAL + b"\x14\x03")
    refused(WHOLE[:at] + container.CENTRAL + b"hidden" + WHOLE[at:], "directory")


def test_parts_that_do_not_belong_there_are_refused():
    refused(container.encode(PARTS | {"../../evil": b"x"}), "does not belong")
    refused(container.encode(PARTS | {"notes.txt": b"x"}), "does not belong")
    refused(container.encode(dict(reversed(PARTS.items()))), "order")


def test_a_part_beyond_its_limit_is_refused_by_its_header_alone():
    data = container.encode(PARTS | {package.SIGNATURE: b" " * (package.LIMITS[package.SIGNATURE] + 1)})  # fmt: skip
    refused(data, package.SIGNATURE, "at most")


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.evm"
    with path.open("wb") as file:
        file.truncate(package.MOST_BYTES + 1)
    with pytest.raises(ModelError, match="at most"):
        package.read_package(path)


@pytest.mark.parametrize("what", ["folder", "pipe", "nothing"])
def test_what_is_no_file_is_never_waited_for(tmp_path, what):
    import os

    path = tmp_path / "a.evm"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelError, match=r"a\.evm"):
        package.read_package(path)


def test_another_version_is_named_and_says_what_to_do():
    for version, remedy in ((0, "export the model anew"), (2, "update edgeveil")):
        values = json.loads(PARTS[package.MANIFEST]) | {"schema_version": version}
        text = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
        signed = signature.sign(text, _signer()).encode()
        data = container.encode(PARTS | {package.MANIFEST: text, package.SIGNATURE: signed})
        refused(data, f"version {version}", remedy)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("licence"),
        lambda values: values.update(more=1),
        lambda values: values["input"].update(resize="nearest"),
        lambda values: values["input"].update(kind="sound"),
        lambda values: values["output"].update(labels=["a", "a", "b"]),
        lambda values: values["output"].update(labels=["a"]),
        lambda values: values["privacy"].update(delta="0"),
        lambda values: values["model"].update(size=True),
    ],
)
def test_a_signed_manifest_that_says_something_else_is_refused(change):
    values = json.loads(PARTS[package.MANIFEST])
    change(values)
    text = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    signed = signature.sign(text, _signer()).encode()
    refused(container.encode(PARTS | {package.MANIFEST: text, package.SIGNATURE: signed}))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 100_000, b'{"schema_version": 1}', b"\xff"])  # fmt: skip
def test_a_signed_text_that_is_no_manifest_is_refused(text):
    signed = signature.sign(text, _signer()).encode()
    refused(container.encode(PARTS | {package.MANIFEST: text, package.SIGNATURE: signed}), "manifest")  # fmt: skip


def test_a_manifest_in_another_spelling_is_refused():
    text = json.dumps(json.loads(PARTS[package.MANIFEST]), indent=1).encode()
    signed = signature.sign(text, _signer()).encode()
    refused(container.encode(PARTS | {package.MANIFEST: text, package.SIGNATURE: signed}), "canonical")  # fmt: skip


def test_the_signature_is_over_a_label_of_its_own():
    """Else whatever else a coordinator signs could be taken for a manifest."""
    text = PARTS[package.MANIFEST]
    other = signature.Signature(_signer().public, _signer().sign(text))
    refused(container.encode(PARTS | {package.SIGNATURE: other.encode()}), "does not verify")


def test_the_hashes_of_the_parts_are_what_is_signed():
    other = package.parse_package((VECTORS / "head.evm").read_bytes())
    refused(container.encode(PARTS | {package.MODEL: other.model}), "not the one that was signed")
    refused(container.encode(PARTS | {package.WEIGHTS: other.weights}), "not the one that was")


def test_another_signer_is_named_with_the_way_to_trust_it():
    found = package.parse_package(resigned(package.parse_package(WHOLE), key=bytes(32)))
    package.check_signer(found, found.signer, "me")
    with pytest.raises(ModelUntrusted, match=f"--trust {found.signer.hex()}"):
        package.check_signer(found, _signer().public, "the coordinator")


@pytest.mark.parametrize("text", ["", "ab", "x" * 64, "00" * 33])
def test_a_key_that_is_none_is_said_to_be_none(text):
    with pytest.raises(ConfigError, match="64 hex digits"):
        package.parse_key(text)


def test_mutated_packages_are_refused_in_one_sentence():
    """2,000 mutations of a small package: never read, never another kind of error."""
    draw = random.Random(1)
    small = resigned(package.parse_package(WHOLE), model=b"m" * 40, weights=b"w" * 40)
    for _ in range(2000):
        data = bytearray(small)
        for _ in range(draw.randint(1, 4)):
            _mutate(data, draw)
        if bytes(data) != small:
            refused(bytes(data))


def _mutate(data, draw):
    at = draw.randrange(len(data))
    kind = draw.randrange(4)
    if kind == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del data[at : at + draw.randint(1, 40)]
    elif kind == 2:
        data[at:at] = draw.randbytes(draw.randint(1, 40))
    else:
        data[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"PK\x03\x04", b"PK\1\2"])  # fmt: skip


def _signer():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edgeveil.shared.wire.identity import Identity

    return Identity(Ed25519PrivateKey.from_private_bytes(KEY))


@pytest.mark.parametrize(
    "shape", [(1 << 26, 1 << 26), (1 << 26, 1 << 26, 1 << 26), ((1 << 24) + 1,)]
)
def test_a_manifest_names_no_record_that_no_memory_holds(shape):
    with pytest.raises(ValueError, match="at most 16777216 values"):
        ArrayInput(name="records", shape=shape)
