"""Kills odibi at every Nth state-changing system call until N passes the end, restarts it with the same command, and
judges the target: no row lost, none twice, none changed that should not be, nothing partial visible in between. Every
run that began has exactly one story, in its three forms, and the index lists it.

With `--between`, another pipeline appends to the same target before the restart.
With `--stores`, also on S3 (moto) and Azure (Azurite), which the script of `ODIBI_TEST_SERVERS` starts."""

import argparse
import concurrent.futures
import csv
import fcntl
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile

# All that can change what a killed process leaves. A sync is none of it: what was written before is there without it.
CALLS = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,ftruncate,fallocate,flock"
)
TARGETS = {
    "parquet-file": ("parquet", "out.parquet"),
    "parquet-directory": ("parquet", "out/"),
    "csv": ("csv", "out.csv"),
    "parquet-partitions": ("parquet, partition_by: [s]", "parts"),
    "delta": ("delta", "table"),
}
# Connection, format and path.
STORES = {
    "parquet-s3": ("s3", "parquet", "out.parquet"),
    "parquet-azure": ("azure", "parquet", "out.parquet"),
    "csv-s3": ("s3", "csv", "out.csv"),
    "delta-s3": ("s3", "delta", "table"),
    "delta-azure": ("azure", "delta", "table"),
}
MODES = {
    "overwrite": "mode: overwrite",
    "append": "mode: append",
    "append_once": "mode: append_once",
    "append_once-keyed": "mode: append_once, keys: [id]",
    "upsert": "mode: upsert, keys: [id]",
}
BEFORE = [(1, "a"), (2, "b"), (3, "c")]
BATCH = [(2, "B"), (3, "c"), (4, "d")]
# What another pipeline appends.
BETWEEN = [(9, "z")]
RUN_SECONDS_MAX = 120
# What else changes something there.
STORE_CALLS = "sendto,sendmsg"
LINE = re.compile(r"\d+ +(\w+)\((.*)")
# Of a call on an open file: its number and, as strace adds it, its name.
OPEN_FILE = re.compile(r"\d+<([^>]*)>(.*)")
READS_ONLY = re.compile(r'[^"]*"(GET|HEAD) ')
# A run makes a hundred or more of them. Fewer, and what strace prints is not understood.
CHANGES_MIN = 50
# Between a call and the next one of its thread.
PAUSE_US = 2_000


def expected(mode):
    """The rows once the batch is in, as a sorted list."""
    if mode == "overwrite":
        return sorted(BATCH)
    if mode in ("append", "append_once"):
        return sorted(BEFORE + BATCH)
    rows = dict(BEFORE)
    for key, value in BATCH:
        if mode == "upsert" or key not in rows:
            rows[key] = value
    return sorted(rows.items())


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "s"])
        writer.writerows(rows)


class Servers:
    """The stores, and a prefix for each project."""

    def __init__(self):
        script = os.environ["ODIBI_TEST_SERVERS"]
        self.process = subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.places = json.loads(self.process.stdout.readline())
        self.numbers = itertools.count(1)

    def connections(self, root):
        (root / "prefix").write_text(f"crash-{os.getpid()}-{next(self.numbers)}")
        at = dict(self.places, prefix=(root / "prefix").read_text())
        return (
            '  s3: {{type: s3, bucket: {bucket}, endpoint: "{s3}", path_prefix: {prefix}, access_key_id: id, '
            "secret_access_key: hunter2}}\n"
            "  azure: {{type: azure_adls, account_name: {azure_account}, container: {bucket}, endpoint: "
            '"{azure}", path_prefix: {prefix}, account_key: "{azure_key}"}}\n'
        ).format(**at)

    def read(self, root, target):
        import remote_table

        kind, form, path = STORES[target]
        key = f"{(root / 'prefix').read_text()}/{path}"
        table = remote_table.table(form, kind, key, self.places)[0]
        return sorted(zip(table["id"].to_pylist(), table["s"].to_pylist()))


def read_target(root, target, servers=None):
    """What a reader sees that knows nothing of odibi."""
    if target in STORES:
        return servers.read(root, target)
    form, path = TARGETS[target]
    path = root / path
    if form == "delta":
        from deltalake import DeltaTable

        table = DeltaTable(path).to_pyarrow_table()
        return sorted(zip(table["id"].to_pylist(), table["s"].to_pylist()))
    if form == "csv":
        with open(path, newline="") as file:
            return sorted((int(row["id"]), row["s"]) for row in csv.DictReader(file))
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(path, format="parquet", partitioning="hive").to_table()
    return sorted(zip(table["id"].to_pylist(), table["s"].to_pylist()))


def project(root, target, mode, source, connections="", pipeline="p", name="odibi.yaml"):
    """Writes the project. Those of one root have one prefix in the stores, that of their first `connections`."""
    connection, form, path = STORES[target] if target in STORES else ("here", *TARGETS[target])
    (root / name).write_text(
        f"project: crash\nconnections:\n  here: {{type: local, base_path: .}}\n{connections}story: {{connection: here}}\n"
        f"pipelines:\n  - pipeline: {pipeline}\n    nodes:\n      - name: n\n"
        f"        read: {{connection: here, format: csv, path: {source}}}\n"
        f"        write: {{connection: {connection}, format: {form}, path: {path}, {MODES[mode]}}}\n"
    )


def begin(odibi, root, target, mode, servers):
    """A project whose target holds the first rows, ready to write the batch. What went wrong, if anything."""
    root.mkdir()
    write_csv(root / "before.csv", BEFORE)
    write_csv(root / "batch.csv", BATCH)
    connections = servers.connections(root) if target in STORES else ""
    project(root, target, "overwrite", "before.csv", connections)
    code, said = run(odibi, root)
    project(root, target, mode, "batch.csv", connections)
    write_csv(root / "between.csv", BETWEEN)
    project(root, target, "append", "between.csv", connections, "q", "between.yaml")
    return said if code != 0 else None


def gone(root):
    """Waits until the killed process holds no mark of a run any more: it goes some time after its tracer."""
    for mark in (root / ".odibi" / "runs").glob("*/running"):
        with open(mark) as file:
            fcntl.flock(file, fcntl.LOCK_EX)


def run(odibi, root, name="odibi.yaml"):
    command = [odibi, "run", str(root / name), "--wait", "60s"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    return done.returncode, done.stdout + done.stderr


def changes(line, root):
    """Does this call, as strace prints it, change something in the directory or in a store?"""
    call = LINE.match(line)
    if not call or " = -1 E" in line:
        return False
    name, arguments = call.groups()
    if name in ("open", "openat", "openat2"):
        return str(root) in arguments and ("O_CREAT" in arguments or "O_TRUNC" in arguments)
    on_file = OPEN_FILE.match(arguments)
    if not on_file or name.endswith("at"):
        return str(root) in arguments
    place, rest = on_file.groups()
    if place.startswith(("socket:", "TCP:")):
        return not READS_ONLY.match(rest)
    return place.startswith(str(root))


def run_killed(odibi, root, at, calls=CALLS):
    """Kills the run after its call number `at` that changes something, counted over all its threads. How many it made if
    it came to its end before, and else None."""
    read, write = os.pipe()
    # strace's own injection counts for each thread and call; every call waits a little at its end, so that none follows
    # before the kill.
    trace = ["strace", "-f", "-y", "-s", "16", "-qq", "-o", f"/dev/fd/{write}", "-e", f"trace={calls}"]
    trace += ["-e", f"inject={calls}:delay_exit={PAUSE_US}", odibi, "run", str(root / "odibi.yaml")]
    with open(root / "said", "w") as said:
        process = subprocess.Popen(trace, cwd=root, pass_fds=[write], stdout=said, stderr=said, start_new_session=True)
    os.close(write)
    seen = 0
    with os.fdopen(read, errors="replace") as lines:
        for line in lines:
            seen += changes(line, root)
            if seen >= at:
                os.killpg(process.pid, signal.SIGKILL)
                break
    code = process.wait(timeout=RUN_SECONDS_MAX)
    gone(root)
    text = (root / "said").read_text()
    (root / "said").unlink()
    return seen if code == 0 else None, code, text


def ended(root):
    """Is the end of the killed run noted? It is the second one."""
    with sqlite3.connect(root / ".odibi" / "state.db") as db:
        codes = db.execute("SELECT exit_code FROM run ORDER BY number").fetchall()
    return len(codes) == 2 and codes[1][0] == 0


def of_pipeline(root, run, outcome):
    """How the pipeline of a run ended: before it was killed, when it came so far, and else as the run."""
    lines = (root / ".odibi" / "runs" / run / "events.jsonl").read_text().splitlines()
    ends = [event["outcome"] for event in map(json.loads, lines) if event["event"] == "pipeline_finished"]
    return ends[0] if ends else outcome


def stories(root):
    """Complaints about the stories of all runs that the state knows."""
    with sqlite3.connect(root / ".odibi" / "state.db") as db:
        runs = db.execute("SELECT id, outcome FROM run ORDER BY number").fetchall()
    found = list((root / "stories" / "p").glob("????-??-??/run_*"))
    listed = [run["run_id"] for run in json.loads((root / "stories" / "p" / "index.json").read_text())["runs"]]
    complaints = []
    for run, outcome in runs:
        files = sorted(path for path in found if path.stem.endswith(run))
        if [path.suffix for path in files] != [".html", ".json", ".md"]:
            complaints.append(f"run {run} ({outcome}) has the stories {files}")
            continue
        told = json.loads(files[1].read_text())["outcome"]
        ended_so = of_pipeline(root, run, outcome)
        if told != ended_so:
            complaints.append(f"the pipeline of run {run} ({outcome}) was {ended_so}, and its story says {told}")
        if listed.count(run) != 1:
            complaints.append(f"the index lists run {run} {listed.count(run)} times")
    return complaints if len(found) == 3 * len(runs) else [*complaints, f"{len(runs)} runs and {len(found)} files"]


def sweep(odibi, target, mode, every, first, servers=None, between=False):
    """Numbers of points, and complaints."""
    remote = target in STORES
    calls = f"{CALLS},{STORE_CALLS}" if remote else CALLS
    with tempfile.TemporaryDirectory() as base:
        start, root = pathlib.Path(base) / "start", pathlib.Path(base) / "now"
        wrong = begin(odibi, start, target, mode, servers)
        if wrong:
            return 0, [f"{target} {mode}: the first run failed: {wrong}"]
        before, after = sorted(BEFORE), expected(mode)
        complaints, points, at = [], 0, first
        while True:
            if remote:
                # What is in a store cannot be copied with the directory.
                wrong = begin(odibi, root, target, mode, servers)
                if wrong:
                    return points, [*complaints, f"{target} {mode}: the first run failed: {wrong}"]
            else:
                shutil.copytree(start, root, symlinks=True)
            changed, code, said = run_killed(odibi, root, at, calls)
            passed = changed is not None
            points += 1
            name = f"{target} {mode} at {at}"
            if not passed and code > 0:
                complaints.append(f"{name}: it failed by itself: {said}")
            seen = read_target(root, target, servers)
            if seen != before and seen != after:
                complaints.append(f"{name}: in between the reader sees {seen}")
            is_ended = passed or ended(root)
            wanted = [after]
            if between and not is_ended:
                # An overwrite may take it away again.
                wanted = [sorted([*after, *BETWEEN]), *([after] if mode == "overwrite" else [])]
                code, said = run(odibi, root, "between.yaml")
                if code != 0:
                    complaints.append(f"{name}: the other pipeline failed: {said}")
                elif (now := read_target(root, target, servers)) != sorted([*seen, *BETWEEN]):
                    complaints.append(f"{name}: {now} after the other pipeline, and {seen} before")
            # A run that was killed after its end was noted is not interrupted: the next one would append again, as it should.
            code, said = run(odibi, root) if not is_ended else (0, "")
            if code != 0:
                complaints.append(f"{name}: the next run failed: {said}")
            elif (now := read_target(root, target, servers)) not in wanted:
                complaints.append(f"{name}: {now} instead of {wanted[0]}")
            elif not passed and not between:
                # Of a run that was killed after its end was noted, only the next one knows.
                if is_ended:
                    code, said = run(odibi, root)
                complaints += [f"{name}: {complaint}" for complaint in stories(root)]
            left = [n for n in os.listdir(root) if n.startswith(".odibi-")]
            if left:
                complaints.append(f"{name}: the next run leaves {left}")
            shutil.rmtree(root)
            if passed:
                if changed < CHANGES_MIN:
                    complaints.append(f"{name}: a whole run changes something only {changed} times")
                return points, complaints
            at += every


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    parser.add_argument("--every", type=int, default=1, help="only every so many points one")
    parser.add_argument("--seed", type=int, default=None, help="where a sample begins")
    parser.add_argument("--only", default="", help="words that a case must hold")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at once")
    parser.add_argument("--stores", action="store_true", help="also the targets on S3 and Azure")
    parser.add_argument("--between", action="store_true", help="another pipeline writes before the restart")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"SEED={seed}", flush=True)
    rng = random.Random(seed)
    points, complaints = 0, []
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
    servers = Servers() if asked.stores else None
    odibi = os.path.abspath(asked.odibi)
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        cases = {}
        for target in [*TARGETS, *(STORES if asked.stores else ())]:
            for mode in MODES:
                first = rng.randint(1, asked.every)
                if all(word in f"{target} {mode}".split() for word in asked.only.split()):
                    case = pool.submit(sweep, odibi, target, mode, asked.every, first, servers, asked.between)
                    cases[case] = f"{target} {mode}"
        for case in concurrent.futures.as_completed(cases):
            done, found = case.result()
            points += done
            complaints += found
            print(f"{cases[case]}: {done} points, {len(found)} complaints", flush=True)
    for complaint in complaints:
        print(complaint)
    print(f"{points} points, {len(complaints)} complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
