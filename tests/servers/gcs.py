"""A stub of Google Cloud Storage's XML interface, as far as the crate object_store speaks it. No emulator of it is at hand:
what passes here has passed a stub. Keys that begin with `denied/` are forbidden; lists come in pages of seven.
"""

import email.utils
import hashlib
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

PAGE = 7


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fault(self, status, code):
        self.say(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def parts(self):
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = url.path.lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        return urllib.parse.unquote(bucket), urllib.parse.unquote(key), query

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        bucket, key, query = self.parts()
        if bucket != self.server.bucket:
            return self.fault(404, "NoSuchBucket")
        if key.startswith("denied/") or query.get("prefix", "").startswith("denied/"):
            return self.fault(403, "AccessDenied")
        with self.server.lock:
            if not key:
                return self.list(query)
            return getattr(self, f"on_{self.command.lower()}")(key, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def store(self, key, data, meta):
        self.server.generation += 1
        # For what is said when the clocks of two machines differ.
        late = 400 * 86_400 if "wrong-clock" in key else 0
        now = email.utils.formatdate(time.time() - late, usegmt=True)
        tag = '"%s-%d"' % (hashlib.md5(data).hexdigest(), self.server.generation)
        self.server.objects[key] = (data, meta, str(self.server.generation), tag, now)
        return self.server.objects[key]

    def matches(self, key):
        wanted = self.headers.get("x-goog-if-generation-match")
        found = self.server.objects.get(key)
        return wanted is None or wanted == (found[2] if found else "0")

    def meta(self):
        return {n: v for n, v in self.headers.items() if n.lower().startswith("x-goog-meta-")}

    def on_put(self, key, query, body):
        if "uploadId" in query:
            tag = '"%s"' % hashlib.md5(body).hexdigest()
            self.server.uploads[query["uploadId"]][1][int(query["partNumber"])] = (tag, body)
            return self.say(200, b"", ETag=tag)
        if not self.matches(key):
            return self.fault(412, "PreconditionFailed")
        meta = self.meta()
        source = self.headers.get("x-goog-copy-source")
        if source is not None:
            found = self.server.objects.get(urllib.parse.unquote(source).partition("/")[2])
            if found is None:
                return self.fault(404, "NoSuchKey")
            body, meta = found[0], found[1]
        _, _, generation, tag, _ = self.store(key, body, meta)
        return self.say(200, b"", ETag=tag, x_goog_generation=generation)

    def on_post(self, key, query, body):
        if "uploads" in query:
            self.server.generation += 1
            upload = f"u{self.server.generation}"
            self.server.uploads[upload] = (self.meta(), {})
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return self.say(200, text.encode())
        if query.get("uploadId") not in self.server.uploads:
            return self.fault(404, "NoSuchUpload")
        meta, pieces = self.server.uploads.pop(query["uploadId"])
        tags = re.findall(rb"<ETag>(.*?)</ETag>", body)
        if [tag.decode().replace("&quot;", '"') for tag in tags] != [pieces[n][0] for n in sorted(pieces)]:
            return self.fault(400, "InvalidPart")
        _, _, generation, tag, _ = self.store(key, b"".join(pieces[n][1] for n in sorted(pieces)), meta)
        text = f"<CompleteMultipartUploadResult><ETag>{escape(tag)}</ETag></CompleteMultipartUploadResult>"
        return self.say(200, text.encode(), x_goog_generation=generation)

    def on_delete(self, key, query, _):
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"], None)
            return self.say(204)
        if self.server.objects.pop(key, None) is None:
            return self.fault(404, "NoSuchKey")
        return self.say(204)

    def on_get(self, key, _query, _body):
        found = self.server.objects.get(key)
        if found is None:
            return self.fault(404, "NoSuchKey")
        data, meta, generation, tag, modified = found
        if self.headers.get("If-Match") not in (None, tag):
            return self.fault(412, "PreconditionFailed")
        headers = {"ETag": tag, "x-goog-generation": generation, "Last-Modified": modified, **meta}
        headers = {name.replace("-", "_"): value for name, value in headers.items()}
        span = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        if span is None:
            return self.say(200, data, **headers)
        first, last = int(span[1]), min(int(span[2]), len(data) - 1)
        if first > last:
            return self.fault(416, "InvalidRange")
        headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
        return self.say(206, data[first : last + 1], **headers)

    on_head = on_get

    def list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token", "")
        rows = []
        for key in sorted(self.server.objects):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix):]
            if delimiter and delimiter in rest:
                row = (prefix + rest.partition(delimiter)[0] + delimiter, None)
            else:
                row = (key, self.server.objects[key])
            if row[0] > after and (not rows or rows[-1][0] != row[0]):
                rows.append(row)
        text = ["<ListBucketResult>"]
        for name, found in rows[:PAGE]:
            if found is None:
                text.append(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>")
                continue
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", email.utils.parsedate(found[4]))
            text.append(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(found[0])}</Size><LastModified>{stamp}</LastModified>"
                f"<ETag>{escape(found[3])}</ETag></Contents>"
            )
        if len(rows) > PAGE:
            text.append(f"<NextContinuationToken>{escape(rows[PAGE - 1][0])}</NextContinuationToken>")
        text.append("</ListBucketResult>")
        return self.say(200, "".join(text).encode())


def start(bucket):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bucket, server.lock, server.generation = bucket, threading.Lock(), 0
    server.objects, server.uploads = {}, {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
