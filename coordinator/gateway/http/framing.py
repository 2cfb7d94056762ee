"""Where one request ends and the next may begin, decided on its raw head before the HTTP parser sees a byte.

Only what clients of ours send goes on: a head of moderate size, HTTP/1.1, a body announced by one
Content-Length, and the next request after the answer. The rest is refused, so that no input makes the
parser work piece by piece. No I/O, no Python loop over bytes or lines: O(bytes) searches in C.
"""

import re
from enum import Enum, auto

MOST_HEAD_BYTES = 8 << 10  # ours are below 2 KiB
MOST_HEAD_LINES = 40  # ours have at most 16
_END = b"\r\n\r\n"
_LINE_ENDS = b"\r\n\x00"  # and what no head has
_FIRST = re.compile(rb"([A-Za-z]+) [^ \r\n]+ HTTP/1\.1\r\n")
_MARKED = re.compile(rb"\r\n(content-length|transfer-encoding|expect:|upgrade:|[ \t])([^\r]*)")
_LENGTH = re.compile(rb":[ \t]*([0-9]{1,12})[ \t]*")
_CHUNKED = re.compile(rb":[ \t]*chunked[ \t]*")


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
        self._head = b""
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
        seen = self._head + data
        end = seen.find(_END, max(0, len(self._head) - len(_END) + 1), MOST_HEAD_BYTES + len(_END))
        if end < 0:
            if len(seen) > MOST_HEAD_BYTES:
                raise BadFraming
            self._head = seen
            return b""
        size = end + len(_END)
        left = body_length(seen[:size]) - (len(seen) - size)
        if left < 0:
            raise BadFraming
        self._head = b""
        self._await(left)
        return seen

    def _await(self, left: int) -> None:
        self._left = left
        self.expects = Expects.BODY if left else Expects.NOTHING


def body_length(head: bytes) -> int:
    """Bytes of the body that this head, up to and with its empty line, announces; raises BadFraming.

    What is left to the parser costs it no more than its size: names, values, the Host header.
    """
    first = _FIRST.match(head)
    ends = head.count(b"\r\n")
    if first is None or ends > MOST_HEAD_LINES:
        raise BadFraming
    if len(head) - len(head.translate(None, _LINE_ENDS)) != 2 * ends:  # one alone, or a NUL
        raise BadFraming
    match _MARKED.findall(head.lower()):
        case []:
            return 0
        case [(b"content-length", value)] if first[1] != b"GET":
            if length := _LENGTH.fullmatch(value):
                return int(length[1])
        case [(b"transfer-encoding", value)] if first[1] != b"GET":
            if _CHUNKED.fullmatch(value):
                raise BadFraming(411)
    raise BadFraming
