"""Where one request ends and the next may begin, decided on its raw head before the HTTP parser sees a byte.

Only what clients of ours send goes on: a head of moderate size, HTTP/1.1, a body announced by one
Content-Length, and the next request after the answer. The rest is refused, so that no input makes the
parser work piece by piece. No I/O, no Python loop over bytes or lines: O(bytes) searches in C.
"""

from enum import Enum, auto

MOST_HEAD_BYTES = 8 << 10  # ours are below 2 KiB
MOST_HEAD_LINES = 40  # ours have at most 16
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length"
_CODING = b"\r\ntransfer-encoding"
_NEVER = (b"\r\nexpect:", b"\r\nupgrade:", b"\r\n ", b"\r\n\t", b"\x00")
_MOST_LENGTH_DIGITS = 12


class BadFraming(Exception):
    """The connection has to end, after an answer with this status if none has begun."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status


class Expects(Enum):
    """What the client may send now."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()  # until the request is answered


class Framing:
    """One connection's requests, one after another."""

    def __init__(self) -> None:
        self.expects = Expects.HEAD
        self._head = bytearray()
        self._left = 0  # bytes of the body still to come

    def feed(self, data: bytes) -> bytes:
        """What the parser may see of it now: nothing before a head is complete.

        Raises:
            BadFraming: a head no client of ours sends, or bytes beyond the end of the request.
        """
        if self.expects is Expects.HEAD:
            return self._feed_head(data)
        if len(data) > self._left:
            raise BadFraming
        self._await(self._left - len(data))
        return data

    def answered(self) -> None:
        """The answer is complete. Of a request whose body is not, nothing more is wanted."""
        if self.expects is Expects.NOTHING:
            self.expects = Expects.HEAD

    def _feed_head(self, data: bytes) -> bytes:
        known = max(0, len(self._head) - len(_END) + 1)
        self._head += data
        end = self._head.find(_END, known, MOST_HEAD_BYTES + len(_END))
        if end < 0:
            if len(self._head) > MOST_HEAD_BYTES:
                raise BadFraming
            return b""
        size = end + len(_END)
        left = body_length(bytes(self._head[:size])) - (len(self._head) - size)
        if left < 0:
            raise BadFraming
        seen = bytes(self._head)
        self._head.clear()
        self._await(left)
        return seen

    def _await(self, left: int) -> None:
        self._left = left
        self.expects = Expects.BODY if left else Expects.NOTHING


def body_length(head: bytes) -> int:
    """Bytes of the body that this head, up to and with its empty line, announces; raises BadFraming.

    What is left to the parser costs it no more than its size: names, values, the Host header.
    """
    ends = head.count(b"\r\n")
    if head.count(b"\n") != ends or head.count(b"\r") != ends or ends > MOST_HEAD_LINES:
        raise BadFraming
    words = head[: head.index(b"\r\n")].split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1" or not words[0].isalpha():
        raise BadFraming
    lower = head.lower()
    if any(part in lower for part in _NEVER):
        raise BadFraming
    _check_coding(words[0], lower)
    return _length(words[0], lower)


def _check_coding(method: bytes, lower: bytes) -> None:
    if _CODING not in lower:
        return
    once = lower.count(_CODING) == 1 and _LENGTH not in lower
    plain = _value(lower, _CODING) == b"chunked"
    raise BadFraming(411 if once and plain and method != b"GET" else 400)


def _length(method: bytes, lower: bytes) -> int:
    count = lower.count(_LENGTH)
    if count == 0:
        return 0
    value = _value(lower, _LENGTH)
    if count > 1 or method == b"GET" or not value.isdigit() or len(value) > _MOST_LENGTH_DIGITS:
        raise BadFraming
    return int(value)


def _value(lower: bytes, name: bytes) -> bytes:
    """Of the first header of this name; empty unless a colon follows the name at once."""
    start = lower.index(name) + len(name)
    colon, _, value = lower[start : lower.index(b"\r\n", start)].partition(b":")
    return b"" if colon else value.strip(b" \t")
