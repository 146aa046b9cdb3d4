"""A server of cameras that refuse or soon end."""

import contextlib
import socket
import socketserver
import struct
import threading

#: A live stream by HTTP, as a camera's answer begins.
OK = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
FORBIDDEN = b"RTSP/1.0 403 Forbidden\r\nCSeq: 1\r\n\r\n"
NOT_FOUND = b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"


class ShortServer(socketserver.ThreadingTCPServer):
    """Answers everything with the same bytes and hangs up, with a reset where ``resets``."""

    daemon_threads = allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, answer: bytes, *, resets: bool = False) -> None:
        self.answer, self.resets = answer, resets
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _ShortHandler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _ShortHandler(socketserver.BaseRequestHandler):
    server: ShortServer

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(OSError):
            self.request.recv(65_536)
            self.request.sendall(self.server.answer)
            if self.server.resets:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
