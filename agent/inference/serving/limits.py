"""How much a client may send, and how long it may take."""

ARRAYS = "application/x-npz"
LINES = "application/x-ndjson"
MOST_BODY = 64 << 20  # bytes
MOST_LINE = 24 << 20  # bytes of one record of a stream
MOST_AT_ONCE = 8  # requests; more are told to come again
MOST_CONNECTIONS = 64  # also of those that have not shown a token; more are closed at once
MOST_RECORDS = 10_000  # of one request
PATIENCE_S = 10.0  # for the next bytes of a request
HEAD_S, BODY_S = 10.0, 60.0  # for all of its head, and for all of its body
QUIET_S = 300.0  # for the next record of a stream, all of it
AGAIN_S = 1  # after which one who was told to come again may
LOOK_S = 0.5  # between two looks at the file of the model
