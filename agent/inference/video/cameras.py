"""Where frames come from: a file, a camera of this device, or one in the network whose address its owner has named.

No other address is followed: no redirection, no proxy, no playlist. MJPEG over HTTP comes in through our own client
and reaches the decoders as bytes; RTSP is the decoders' own, over TCP.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgeveil.shared.base.errors import DataError

if TYPE_CHECKING:
    import httpx

DEVICE = re.compile(r"/dev/video\d{1,3}")
RTSP = re.compile(r"rtsps?://\S+")
HTTP = re.compile(r"https?://\S+")
CONTAINERS = "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,ogg,flv,asf,mjpeg"
MULTIPART = "multipart/x-mixed-replace"
MOST_BYTES = 32 << 20  # that may come without a picture
OPEN_S, READ_S = 15.0, 15.0  # a camera that is silent for longer is away
AWAY_S = 600.0  # for longer than this it has ended
# Before each try to reach it again, the last one for all others.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)
PROBED = 1 << 16  # bytes from which the decoders tell what it is


def is_live(name: str) -> bool:
    return any(each.fullmatch(name) for each in (DEVICE, RTSP, HTTP))


def without_secrets(name: str) -> str:
    """An address as it may be shown and forwarded: without user, password and query, in which cameras take them too."""
    if not (RTSP.fullmatch(name) or HTTP.fullmatch(name)):
        return name
    parts = urlsplit(name)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def waits() -> Iterator[float]:
    """Seconds to wait before each try, until AWAY_S have passed."""
    until, tries = time.monotonic() + AWAY_S, 0
    while time.monotonic() < until:
        yield WAITS_S[min(tries, len(WAITS_S) - 1)]
        tries += 1


class Source:
    """A container of PyAV that is open, and what lies behind it; `seen()` after each frame.

    Raises DataError where a file is missing or an address answers with something else, OSError or an error of PyAV
    where nothing can be read.
    """

    def __init__(self, av: ModuleType, name: str) -> None:
        self._stream: Stream | None = None
        patience = (OPEN_S, READ_S)
        if DEVICE.fullmatch(name):
            self.container: Any = av.open(name, format="v4l2", timeout=patience)
        elif RTSP.fullmatch(name):
            options = {"rtsp_transport": "tcp"}
            self.container = av.open(name, options=options, timeout=patience)
        elif HTTP.fullmatch(name):
            self._stream = Stream(name)
            try:
                self.container = self._pictures(av, self._stream)
            except BaseException:
                self._stream.close()
                raise
        else:
            path = Path(name)
            if not path.is_file():
                raise DataError(f"{name}: no such video file")
            options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "pipe"}
            self.container = av.open(path.open("rb"), options=options)

    @staticmethod
    def _pictures(av: ModuleType, stream: "Stream") -> Any:
        """They come without times of their own: each has that of its arrival."""
        options = {"use_wallclock_as_timestamps": "1", "probesize": str(PROBED)}
        return av.open(stream, format="mpjpeg", options=options)

    def seen(self) -> None:
        if self._stream is not None:
            self._stream.left = MOST_BYTES

    def close(self) -> None:
        self.container.close()
        if self._stream is not None:
            self._stream.close()


class Stream:
    """The body of an answer as a file, as far as `left` bytes; who takes pictures from it sets that back."""

    def __init__(self, address: str) -> None:
        import httpx  # noqa: PLC0415 - files and devices need none of it

        self.left = MOST_BYTES
        self._rest = b""
        self._failed = (httpx.HTTPError, httpx.InvalidURL)
        timeout = httpx.Timeout(READ_S, connect=OPEN_S)
        self._client = httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False)
        try:
            self._answer = self._asked(address)
            self._check(without_secrets(address))
        except self._failed as error:
            self.close()
            raise OSError(str(error) or type(error).__name__) from error
        except BaseException:
            self.close()
            raise
        self._pieces = self._answer.iter_raw()

    def _asked(self, address: str) -> "httpx.Response":
        """With the password of the address, in whichever of the two ways the camera wants it."""
        import httpx  # noqa: PLC0415 - as above

        request = self._client.build_request("GET", address)
        answer = self._client.send(request, stream=True)
        parts = httpx.URL(address)
        if answer.status_code == httpx.codes.UNAUTHORIZED and parts.username:
            wanted = answer.headers.get("www-authenticate", "")
            answer.close()
            if wanted.lower().startswith("digest"):
                digest = httpx.DigestAuth(parts.username, parts.password)
                answer = self._client.send(request, stream=True, auth=digest)
        return answer

    def _check(self, name: str) -> None:
        answer = self._answer
        kind = answer.headers.get("content-type", "")[:80]
        if answer.status_code in {401, 403}:
            why = "this camera wants another user or password: http://USER:PASSWORD@…"
        elif answer.is_redirect:
            why = "it sends elsewhere, which is not followed; name that address itself"
        elif not answer.is_success:
            why = f"its address answers with status {answer.status_code}"
        elif not kind.lower().startswith(MULTIPART):
            given = kind or "nothing that has a kind"
            why = f"its address gives {given}, not MJPEG ({MULTIPART}); name its stream, mostly rtsp://"
        else:
            return
        raise DataError(f"{name}: {why}")

    def read(self, count: int) -> bytes:
        try:
            data = self._rest or next(self._pieces, b"")
        except self._failed as error:
            raise OSError(str(error) or type(error).__name__) from error
        given, self._rest = data[:count], data[count:]
        self.left -= len(given)
        if self.left < 0:
            raise OSError(f"more than {MOST_BYTES:,} bytes without a picture")
        return given

    def close(self) -> None:
        answer = getattr(self, "_answer", None)
        if answer is not None:
            answer.close()
        self._client.close()
