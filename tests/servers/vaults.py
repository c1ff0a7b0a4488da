"""Vaults on loopback for the tests: Azure Key Vault with its login and a machine's identity service, HashiCorp Vault, and
AWS Secrets Manager (moto, when it is there).

Says where they are in one line of JSON, and ends when its standard input does. Certificates are made anew with `openssl`.
`GET /log` of the plain port tells what was asked. What a secret's name says is what happens to who asks for it.
"""

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
HOSTS = ["acme.vault.azure.net", "locked.vault.azure.net", "login.microsoftonline.com", "vault.example.com", "localhost"]
LOG, LOCK, ENDED = [], threading.Lock(), threading.Event()
TOKENS = {"hvs.right"}
SEEN = {}


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(folder):
    at = lambda name: os.path.join(folder, name)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2",
            "-subj", "/CN=odibi test authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", at("server.key"), "-out", at("server.csr"), "-subj", "/CN=vaults")
    with open(at("server.ext"), "w") as out:
        out.write("subjectAltName=" + ",".join(f"DNS:{host}" for host in HOSTS) + ",IP:127.0.0.1\n")
        out.write("basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", at("server.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial",
            "-out", at("server.pem"), "-days", "2", "-extfile", at("server.ext"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", at("client.key"), "-out", at("client.crt"), "-days", "2",
            "-subj", "/CN=client")
    public = subprocess.run(["openssl", "x509", "-in", at("client.crt"), "-pubkey", "-noout"], check=True, capture_output=True)
    with open(at("client.pub"), "wb") as out:
        out.write(public.stdout)
    with open(at("client.pem"), "w") as out:
        out.write(open(at("client.key")).read() + open(at("client.crt")).read())
    return at


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def is_signed(assertion, at):
    """A JWT, signed by the client's key, for this tenant, and of today."""
    try:
        header, claims, signature = assertion.split(".")
        said, about = json.loads(decoded(header)), json.loads(decoded(claims))
    except ValueError:
        return False
    der = ssl.PEM_cert_to_DER_cert(open(at("client.crt")).read())
    thumb = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    now = time.time()
    good = (
        said["alg"] == "PS256" and said["x5t#S256"] == thumb and about["iss"] == about["sub"] == CLIENT
        and about["aud"] == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
        and about["nbf"] <= now < about["exp"] and about["jti"]
    )
    if not good:
        return False
    with tempfile.TemporaryDirectory() as folder:
        text, sign = os.path.join(folder, "text"), os.path.join(folder, "sign")
        open(text, "w").write(f"{header}.{claims}")
        open(sign, "wb").write(decoded(signature))
        checked = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1",
             "-verify", at("client.pub"), "-signature", sign, text], capture_output=True)
    return checked.returncode == 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    at = None

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass

    def say(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def answer(self, body):
        host = self.headers.get("Host", "").split(":")[0]
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/log":
            return self.say(200, LOG)
        with LOCK:
            LOG.append(f"{host} {self.command} {url.path}")
            key = (host, url.path)
            if self.headers.get("Authorization") or "vault.azure" not in host:
                SEEN[key] = SEEN.get(key, 0) + 1
        if host.endswith(".vault.azure.net"):
            return self.key_vault(host, url)
        if host == "login.microsoftonline.com":
            return self.login(url, dict(urllib.parse.parse_qsl(body.decode())))
        if url.path == "/metadata/identity/oauth2/token":
            if self.headers.get("Metadata") != "true":
                return self.say(400, {})
            return self.say(200, {"access_token": self.token("machine"), "expires_on": str(int(time.time()) + 3600),
                                  "token_type": "Bearer", "resource": "https://vault.azure.net"})
        return self.hashicorp(url, body)

    def token(self, who):
        with LOCK:
            token = f"token-of-{who}-{len(TOKENS)}"
            TOKENS.add(token)
        return token

    # --- Azure ---------------------------------------------------------------------------------------------------------

    def login(self, url, form):
        good = url.path == f"/{TENANT}/oauth2/v2.0/token" and form.get("client_id") == CLIENT
        assertion = form.get("client_assertion", "")
        good = good and (
            form.get("client_secret") == "right-client-secret" or assertion == "federated-token" or is_signed(assertion, self.at)
        )
        if not good:
            said = "AADSTS7000215: Invalid client secret provided. Trace ID: 0000 Correlation ID: 1111"
            return self.say(401, {"error": "invalid_client", "error_description": said, "error_codes": [7000215]})
        return self.say(200, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": self.token("app")})

    def key_vault(self, host, url):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in TOKENS or host.startswith("locked"):
            challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net"'
            error = {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}}
            return self.say(401, error, [("WWW-Authenticate", challenge)])
        found = re.fullmatch(r"/secrets/([0-9A-Za-z-]{1,127})/([0-9a-f]{32})?", url.path)
        if not found:
            return self.say(400, {"error": {"code": "BadParameter", "message": url.path}})
        name, version = found[1], found[2] or "0" * 32
        refuse = lambda code, message: self.say(
            403, {"error": {"code": "Forbidden", "message": message, "innererror": {"code": code}}})
        now, attributes, value = int(time.time()), {"enabled": True}, f"value-of-{name}"
        if name == "missing":
            said = "A secret with (name/id) missing was not found in this key vault."
            return self.say(404, {"error": {"code": "SecretNotFound", "message": said}})
        if name == "no-role":
            return refuse("ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments")
        if name == "told-disabled":
            return refuse("SecretDisabled", "Operation get is not allowed on a disabled secret.")
        if name == "told-expired":
            return refuse("AccessDenied", "Operation get is not allowed on an expired secret.")
        if name == "told-early":
            return refuse("AccessDenied", "Operation get is not allowed on a secret that is not yet valid.")
        if name == "busy" and SEEN[(host, url.path)] <= 2:
            return self.say(429, {"error": {"code": "Throttled", "message": "slow down"}}, [("Retry-After", "1")])
        if name == "out-of-order":
            return self.say(503, {"error": {"code": "ServiceUnavailable", "message": "later"}}, [("Retry-After", "0")])
        if name == "slow":
            ENDED.wait(60)
        if name == "disabled":
            attributes["enabled"] = False
        if name == "expired":
            attributes["exp"] = now - 60
        if name == "early":
            attributes["nbf"] = now + 3600
        if name == "empty":
            value = ""
        if name == "odd":
            value = "a: b # c\n- {d: ${HOME}} !!str 'e' \"f\" ${keyvault:acme/other}"
        if name == "azurite-key":
            # Public: every Azurite has it.
            value = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        if name == "lake-key":
            value = "bGFrZS1rZXktb2YtdGhlLXZhdWx0LTAxMjM0NTY3ODk="
        canary = re.fullmatch(r"canary-([0-9]+)", name)
        if canary:
            # Half of them are hard to find once they are encoded.
            n = int(canary[1])
            value = f"CNRY{n * 7919:06d}{n * 104729:09d}xQ" if n % 2 else f"CnRy/{n * 7919:06d}+Zé {n * 104729:09d}&y"
        if name == "versioned":
            value = f"version-{version}"
        name_id = f"https://{host}/secrets/{name}/{version}"
        return self.say(200, {"value": value, "id": name_id, "attributes": attributes})

    # --- HashiCorp -----------------------------------------------------------------------------------------------------

    def hashicorp(self, url, body):
        path = url.path.removeprefix("/v1/")
        fail = lambda status, *errors, headers=(): self.say(status, {"errors": list(errors)}, headers)
        if path in ("auth/approle/login", "auth/other/login"):
            given = json.loads(body)
            if given != {"role_id": "role", "secret_id": "right-secret-id"}:
                return fail(400, "invalid role or secret ID")
            return self.say(200, {"auth": {"client_token": self.token("approle")}})
        if path == "auth/kubernetes/login":
            if json.loads(body) != {"role": "odibi", "jwt": "pod-token"}:
                return fail(403, "permission denied")
            return self.say(200, {"auth": {"client_token": self.token("pod")}})
        if self.headers.get("X-Vault-Token") not in TOKENS:
            return fail(403, "permission denied")
        if path.startswith("sys/internal/ui/mounts/"):
            mount = path.rsplit("/", 1)[1]
            if mount == "hidden":
                return fail(403, "preflight capability check returned 403")
            options = {"kv": {"version": "2"}, "old": {"version": "1"}}.get(mount)
            return self.say(200, {"data": {"type": "kv", "options": options}}) if options else fail(400)
        data = {"password": "value-of-vault", "user": "me", "port": 5432}
        if path == "kv/data/throttled" and SEEN[(self.headers["Host"].split(":")[0], url.path)] <= 2:
            return fail(429, "request rate limit", headers=[("Retry-After", "1")])
        if path in ("kv/data/app", "kv/data/throttled", "hidden/data/app"):
            return self.say(200, {"data": {"data": data, "metadata": {"version": 3}}})
        if path == "kv/data/team":
            if self.headers.get("X-Vault-Namespace") != "acme/data":
                return fail(404)
            return self.say(200, {"data": {"data": data, "metadata": {}}})
        if path == "old/app":
            return self.say(200, {"data": data})
        if path == "kv/data/deleted":
            gone = {"deletion_time": "2026-01-02T03:04:05Z", "destroyed": False, "version": 1}
            return self.say(404, {"data": {"data": None, "metadata": gone}})
        if path == "kv/data/denied":
            return fail(403, "1 error occurred:\n\t* permission denied\n\n")
        if path == "kv/data/sealed":
            return fail(503, "Vault is sealed")
        return fail(404)


def start_moto():
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        return None
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, text in [("plain", "value-of-aws"), ("prod/db", '{"user": "me", "password": "value-of-field"}')]:
        body = json.dumps({"Name": name, "SecretString": text, "ClientRequestToken": "0" * 32}).encode()
        headers = {
            "X-Amz-Target": "secretsmanager.CreateSecret", "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 Credential=id/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0",
        }
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
            answer.read()
    return url


def main():
    with tempfile.TemporaryDirectory() as folder:
        at = certificates(folder)
        Handler.at = staticmethod(at)
        plain = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        secure = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at("server.pem"), at("server.key"))
        # The handshake belongs to the thread of the connection.
        secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
        for server in (plain, secure):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        places = {
            "secure": secure.server_address[1], "plain": plain.server_address[1], "ca": at("ca.pem"), "client": at("client.pem"),
            "tenant": TENANT, "client_id": CLIENT, "hosts": HOSTS[:4], "aws": start_moto(),
        }
        print(json.dumps(places), flush=True)
        sys.stdin.read()
        ENDED.set()
    os._exit(0)


if __name__ == "__main__":
    main()
