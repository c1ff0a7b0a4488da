"""Requests to Azure's blob service, signed with the key of an account (SharedKey), and shared access signatures made with
it; nothing but the standard library."""

import base64
import email.utils
import hashlib
import hmac
import urllib.parse
import urllib.request

VERSION = "2021-08-06"
CONTENT_TYPE = "application/octet-stream"
EXPIRY = "2099-12-31T23:59:59Z"


def signature(key, text):
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def container_sas(account, key, container, permissions):
    """A token for the blobs of one container and their list."""
    parts = {"sv": VERSION, "sr": "c", "sp": permissions, "se": EXPIRY, "spr": "https,http"}
    resource = f"/blob/{account}/{container}"
    # Start, policy and addresses; snapshot and scope of the encryption; five headers of answers.
    lines = [permissions, "", EXPIRY, resource, "", "", parts["spr"], VERSION, "c", *[""] * 7]
    return urllib.parse.urlencode({**parts, "sig": signature(key, "\n".join(lines))})


def ask(method, url, account, key, body=b"", headers=None):
    """The answer's headers and body. `url` begins with the account's, and its path is encoded already."""
    parts = urllib.parse.urlsplit(url)
    named = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": VERSION, **(headers or {})}
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(named.items()))
    query = "".join(f"\n{name}:{value}" for name, value in sorted(urllib.parse.parse_qsl(parts.query)))
    has_body = method == "PUT"
    length = str(len(body)) if body else ""
    kind = CONTENT_TYPE if has_body else ""
    # Encoding, language, length, MD5, type; then date, four conditions and a range, of which there are none.
    lines = [method, "", "", length, "", kind, "", "", "", "", "", ""]
    text = "\n".join(lines) + f"\n{canonical}/{account}{parts.path}{query}"
    named["Authorization"] = f"SharedKey {account}:{signature(key, text)}"
    if has_body:
        named["Content-Type"] = kind
    request = urllib.request.Request(url, data=body if has_body else None, method=method, headers=named)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read()
