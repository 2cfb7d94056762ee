"""How much a client may send, how many may ask, and how long they may take; docs and OpenAPI tell the same."""

ARRAYS, LINES = "application/x-npz", "application/x-ndjson"
MOST_BODY = 64 << 20  # bytes
MOST_AT_ONCE = 8  # requests that are worked on; more are told to come again
MOST_CONNECTIONS = 64  # also of those that have not shown a token; more are told to come again
MOST_RECORDS = 10_000  # of one request
PATIENCE_S = 10.0  # for the next bytes of a request
HEAD_S, BODY_S = 10.0, 60.0  # for all of its head, and for all of its body
RETRY_S = 1  # when who was told to come again may
# Bytes of a body that are read though nobody answers it, so that its sender reads why.
DRAINED = 1 << 20

MOST_STREAMS = 4  # at once
MOST_LINES = 100_000  # of one stream
MOST_LINE = 24 << 20  # bytes: a picture of 18 MB
MOST_STREAMED = 1 << 30  # bytes of one stream
STREAM_S = 3600.0  # for all of it
LINE_S, IDLE_S = 60.0, 30.0  # for a line and its answer, and for the next bytes of it
