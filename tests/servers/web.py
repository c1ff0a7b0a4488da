"""A web server with the good and bad habits of real ones. A file is `/HABIT/…/BYTES`: that many bytes of a fixed pattern.

`plain` has ranges and HEAD; `noranges` sends all; `nohead` answers HEAD with 405; `nolength` sends chunks without a length;
`flaky` answers 503 twice for each path and method; `bearer` wants a token; `basic` a name and a password; `key` a header;
`away` redirects to another host; `broken` hangs up halfway; `busy` always answers 503. `/plain/text/…` echoes the path.
"""

import base64
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = bytes((i * 31 + 7) % 251 for i in range(251))


def content(path):
    name = path.rsplit("/", 1)[-1]
    if not re.fullmatch(r"[0-9]+", name):
        return path.encode() if "/text/" in path else None
    size = int(name)
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = {}
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def plain(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The client has what it wants.

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = self.path.split("?")[0]
        habit = path.split("/")[1]
        body = content(path)
        if body is None:
            return self.plain(404)
        if habit == "busy":
            return self.plain(503)
        if habit == "flaky":
            with self.lock:
                count = self.seen[(self.command, path)] = self.seen.get((self.command, path), 0) + 1
            if count <= 2:
                return self.plain(503, b"try again")
        wanted = {
            "bearer": ("Authorization", "Bearer hunter2"),
            "basic": ("Authorization", "Basic " + base64.b64encode(b"me:hunter2").decode()),
            "key": ("X-Api-Key", "hunter2"),
        }.get(habit)
        if wanted and self.headers.get(wanted[0]) != wanted[1]:
            return self.plain(401, b"who are you?")
        if habit == "away":
            port = self.server.server_address[1]
            place = f"http://localhost:{port}/plain/{path.rsplit('/', 1)[-1]}"
            return self.plain(302, b"", [("Location", place)])
        if habit == "nohead" and self.command == "HEAD":
            return self.plain(405)
        tag = [("ETag", f'"{len(body)}"')]
        if habit == "nolength":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if self.command != "HEAD":
                for at in range(0, len(body), 60_000):
                    piece = body[at : at + 60_000]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            return None
        if habit == "broken" and self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 1))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
            return None
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        if habit != "noranges" and found:
            first, last = int(found[1]), int(found[2]) if found[2] else len(body) - 1
            last = min(last, len(body) - 1)
            if first > last:
                return self.plain(416)
            tag.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
            return self.plain(206, body[first : last + 1], tag)
        return self.plain(200, body, tag)


def start():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
