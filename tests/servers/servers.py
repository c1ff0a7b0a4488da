"""Stores on loopback for the tests: S3 (moto), Azure (Azurite), Google Cloud Storage and a web server (our own stubs).

Says where they are in one line of JSON, and ends when its standard input does: with the test that started it.
"""

import argparse
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import gcs
import shared_key
import web

BUCKET = "odibi-test"
# Of the production example, in Azure.
CONTAINERS = ("landing", "lake")
AZURE_ACCOUNT = "devstoreaccount1"
# Public: every Azurite has it.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_SECONDS_MAX = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put(url, headers=None):
    request = urllib.request.Request(url, data=b"", method="PUT", headers=headers or {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def start_s3():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    put(f"{url}/{BUCKET}")
    return url


def start_azure(main_js):
    port = free_port()
    arguments = [
        "node", main_js, "--silent", "--skipApiVersionCheck", "--loose", "--inMemoryPersistence", "--disableTelemetry",
        "--blobHost", "127.0.0.1", "--blobPort", str(port),
    ]
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    url = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            make_containers(url)
            return url, child
        except urllib.error.HTTPError:
            raise
        except OSError:
            if child.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


def make_containers(url):
    for name in (BUCKET, *CONTAINERS):
        shared_key.ask("PUT", f"{url}/{name}?restype=container", AZURE_ACCOUNT, AZURE_KEY)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--azurite", required=True, help="main.js of Azurite's blob service")
    azurite = parser.parse_args().azurite
    child = None
    try:
        started = {}
        thread = threading.Thread(target=lambda: started.update(s3=start_s3()))
        thread.start()
        azure, child = start_azure(azurite)
        thread.join(START_SECONDS_MAX)
        places = {
            "bucket": BUCKET,
            "s3": started["s3"],
            "azure": azure,
            "azure_account": AZURE_ACCOUNT,
            "azure_key": AZURE_KEY,
            "azure_sas": shared_key.container_sas(AZURE_ACCOUNT, AZURE_KEY, BUCKET, "racwdl"),
            "azure_sas_reader": shared_key.container_sas(AZURE_ACCOUNT, AZURE_KEY, BUCKET, "rl"),
            "gcs": gcs.start(BUCKET),
            "web": web.start(),
        }
        print(json.dumps(places), flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        sys.stdin.read()
    finally:
        if child is not None:
            child.kill()
            child.wait()
        sys.stdout.flush()
        os._exit(0 if sys.exc_info()[0] in (None, SystemExit) else 1)


if __name__ == "__main__":
    main()
