#!/usr/bin/env python3
"""What receivers of alerts that answer badly cost a run: nothing, but for the wait at its end.

    tests/bench/alerts.py ODIBI [--rounds N] [--rows N] [--waits N]

Each round runs one pipeline once without alerts and once for each receiver, in turns; the ratio is of one round, and the
median of the rounds is printed with the smallest and the largest. `run` is what the story says that the pipeline took,
`process` the time of the whole process, which does not wait for what is not delivered (`ODIBI_ALERTS_WAIT=0s`). Both are
judged. `wait` is how much longer a process took than without alerts that waits as it does by default, the median of
`--waits` runs; only its limit is judged.
"""

import argparse
import http.server
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

RECEIVERS = ["good", "429", "500", "slow", "reset", "huge", "redirect"]
RATIO_MAX = 1.05
# What a run waits at its end if nothing else is said, and what noting and starting may take besides.
WAIT_SECONDS = 10
SPARE_SECONDS = 1


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.path.strip("/")
        if kind == "slow":
            time.sleep(60)
        if kind == "reset":
            return self.connection.close()
        status = {"429": 429, "500": 500, "redirect": 302}.get(kind, 200)
        self.send_response(status)
        if kind == "redirect":
            self.send_header("Location", "http://127.0.0.1:9/")
        if kind == "huge":
            self.send_header("Content-Length", str(100 << 30))
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65_536)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


def project(root, receiver, port):
    alerts = ""
    if receiver:
        alerts = (
            f'alerts: [{{type: webhook, url: "http://127.0.0.1:{port}/{receiver}", on_events: [on_start, on_success], '
            "metadata: {throttle_minutes: 0, max_per_hour: 1000}}]\n"
        )
    root.mkdir()
    (root / "odibi.yaml").write_text(
        "project: bench\nconnections: {here: {type: local, base_path: .}, data: {type: local, base_path: ..}}\n"
        f"story: {{connection: here}}\n{alerts}pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n"
        "        read: {connection: data, format: csv, path: rows.csv}\n"
        "        transform: {steps: [{operation: clean_text, params: {columns: [s], case: upper}}]}\n"
        "        write: {connection: here, format: parquet, path: out.parquet}\n"
    )


def run(odibi, root, waits=False):
    """Seconds of the pipeline and of the process."""
    env = {name: value for name, value in os.environ.items() if name != "ODIBI_ALERTS_WAIT"}
    if not waits:
        env["ODIBI_ALERTS_WAIT"] = "0s"
    begin = time.monotonic()
    said = subprocess.run(
        [odibi, "run", "--output", "json"], cwd=root, capture_output=True, text=True, check=True, env=env
    )
    process = time.monotonic() - begin
    return json.loads(said.stdout)["pipelines"][0]["story"]["duration_ms"] / 1_000, process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("odibi")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--waits", type=int, default=3)
    asked = parser.parse_args()
    odibi = os.path.abspath(asked.odibi)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as top:
        top = pathlib.Path(top)
        (top / "rows.csv").write_text("id,s\n" + "".join(f"{n},text {n % 977}\n" for n in range(asked.rows)))
        for receiver in [None, *RECEIVERS]:
            project(top / str(receiver), receiver, server.server_port)
            # Of its own: what was not delivered is sent by the next run.
            project(top / f"{receiver}, waits", receiver, server.server_port)
        run(odibi, top / "None")
        ratios = {receiver: [] for receiver in RECEIVERS}
        waits = {receiver: [] for receiver in RECEIVERS}
        for _ in range(asked.rounds):
            alone = run(odibi, top / "None")
            for receiver in RECEIVERS:
                ratios[receiver].append([one / other for one, other in zip(run(odibi, top / receiver), alone)])
        for _ in range(asked.waits):
            alone = run(odibi, top / "None")
            for receiver in RECEIVERS:
                waits[receiver].append(run(odibi, top / f"{receiver}, waits", waits=True)[1] - alone[1])
        print(f"{asked.rows} rows, {asked.rounds} rounds, {alone[0]:.2f} s without alerts; ratio, median (min-max)")
        missed = False
        for receiver, found in ratios.items():
            run_ratio, process_ratio = zip(*found)
            show = lambda many: f"{statistics.median(many):.3f} ({min(many):.2f}-{max(many):.2f})"
            missed |= max(statistics.median(run_ratio), statistics.median(process_ratio)) > RATIO_MAX
            wait = statistics.median(waits[receiver]) if asked.waits else 0
            missed |= wait > WAIT_SECONDS + SPARE_SECONDS
            print(f"{receiver:<9} run {show(run_ratio)}  process {show(process_ratio)}  wait {wait:+.2f} s")
        within = f"all runs and processes within {RATIO_MAX}, all waits within {WAIT_SECONDS} s"
        print("a target was missed" if missed else within)
        raise SystemExit(missed)


main()
