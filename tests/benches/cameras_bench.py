"""Network cameras for tests: MJPEG over HTTP, and RTSP with MPEG-TS in RTP, each on a port of loopback of its own."""

import contextlib
import io
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

BOUNDARY = "frame"


def jpeg(grey, side=(96, 64)):
    """One picture, all of one grey."""
    out = io.BytesIO()
    Image.new("RGB", side, (grey,) * 3).save(out, "JPEG")
    return out.getvalue()


@contextlib.contextmanager
def http_camera(*visits):
    """`visits`: for each connection, in turn and the last one for all others, a function that answers it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self)
            with contextlib.suppress(OSError):
                visits[min(len(asked), len(visits)) - 1](self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def begin(handler, kind=f"multipart/x-mixed-replace; boundary={BOUNDARY}"):
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.end_headers()


def mjpeg(greys, wait=None, *, length=True):
    """Pictures of these greys; `wait()` before each."""

    def visit(handler):
        begin(handler)
        for grey in greys:
            if wait is not None:
                wait()
            data = jpeg(grey)
            told = f"Content-Length: {len(data)}\r\n" if length else ""
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n{told}\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")

    return visit


def film(pictures, rate=10):
    """MPEG-TS of pictures (high, wide, 3)."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels))))
        container.mux(stream.encode())
    return out.getvalue()


@contextlib.contextmanager
def rtsp_camera(stream):
    """Plays this MPEG-TS to each that asks, over the same connection, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    _play(connection, stream, port)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _play(connection, stream, port):
    lines = connection.makefile("rb")
    while line := lines.readline():
        verb, head = line.split()[0], {}
        while field := lines.readline().strip():
            name, _, value = field.partition(b":")
            head[name.lower()] = value.strip().decode()
        body, more = "", ""
        if verb == b"DESCRIBE":
            body = (
                f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
                f"a=control:rtsp://127.0.0.1:{port}/1\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
            )
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif verb == b"SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        session = "" if verb == b"OPTIONS" else "Session: 1\r\n"
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {head[b'cseq']}\r\n{session}{more}\r\n{body}"
        connection.sendall(answer.encode())
        if verb == b"PLAY":
            for at in range(0, len(stream), 7 * 188):
                part = stream[at : at + 7 * 188]
                packet = bytes((0x80, 33)) + (at // (7 * 188)).to_bytes(2) + bytes(8) + part
                connection.sendall(b"$\0" + len(packet).to_bytes(2) + packet)
            return
