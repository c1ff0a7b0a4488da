"""Two runs of one pipeline at once, one or both killed at a random moment, then a last one: no row lost, none twice.

What runs take that nobody kills is measured first, and kills are sent within that time. A kill counts if the process ended
by it and both runs were alive at once; rounds follow until as many have landed as were asked for.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import sweep

WAIT = "60s"
# Runs of each target whose time is taken.
MEASURED = 3
# Rounds for each kill that is asked for; a round sends one or two.
ROUNDS_MAX = 5
# Part of a run within which the second one starts.
GAP_MAX = 0.8


class Run:
    """A process that is watched. Its number stays its own until `code` was asked."""

    def __init__(self, odibi, root, said):
        command = [odibi, "run", str(root / "odibi.yaml"), "--wait", WAIT]
        self.path, self.began, self.ended = said, time.monotonic(), None
        with open(said, "w") as file:
            self.process = subprocess.Popen(
                command, cwd=root, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
            )
        self.started = time.monotonic()
        self.watch = threading.Thread(target=self.wait)
        self.watch.start()

    def wait(self):
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self.ended = time.monotonic()

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)

    def code(self):
        self.watch.join(sweep.RUN_SECONDS_MAX)
        if self.watch.is_alive():
            self.kill()
            sys.exit(f"a run takes more than {sweep.RUN_SECONDS_MAX} s: {self.said()}")
        return self.process.wait()

    def said(self):
        return self.path.read_text()

    def seconds(self):
        return self.ended - self.began


def until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def copies(rows, mode):
    """How often the batch stands in the target, or None when that is no whole number."""
    if mode != "append":
        return 1 if rows == sweep.expected(mode) else 0 if rows == sorted(sweep.BEFORE) else None
    left = list(rows)
    for row in sweep.BEFORE:
        if row not in left:
            return None
        left.remove(row)
    times, rest = divmod(len(left), len(sweep.BATCH))
    return times if not rest and sorted(left) == sorted(sweep.BATCH * times) else None


def measured(odibi, start, base):
    """Seconds of a run, and of each of two of which the second starts in the middle of the first."""
    def take(number, gap):
        root = base / "now"
        shutil.copytree(start, root, symlinks=True)
        runs = []
        for one in range(number):
            runs.append(Run(odibi, root, base / f"said {one}"))
            until(runs[0].began + gap)
        for run in runs:
            if run.code() != 0:
                sys.exit(f"a run that nobody kills fails: {run.said()}")
        shutil.rmtree(root)
        return [run.seconds() for run in runs]

    alone = statistics.median(take(1, 0)[0] for _ in range(MEASURED))
    pairs = [take(2, alone / 2) for _ in range(MEASURED)]
    return alone, [statistics.median(lives) for lives in zip(*pairs)]


def place(root, run):
    """How far a run came that was killed. Asked when the last run is over, which has opened the state as it was left."""
    with sqlite3.connect(root / ".odibi" / "state.db") as db:
        # The first one made the target.
        known = "SELECT id, exit_code FROM run WHERE pid = ? AND number > 1"
        known = db.execute(known, (run.process.pid,)).fetchone()
    if known is None:
        return "waiting for the other" if "waiting: " in run.said() else "before it was noted"
    if known[1] is not None:
        return "after its end was noted"
    lines = (root / ".odibi" / "runs" / known[0] / "events.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    # What follows is told by the run that found it.
    own = events[: events.index("run_crashed")] if "run_crashed" in events else events
    return f"after {own[-1]}" if own else "before it said anything"


class Tally:
    """What was seen over all rounds."""

    def __init__(self):
        self.rounds = self.sent = self.landed = self.late = self.overlaps = self.meetings = 0
        self.places = collections.Counter()

    def add(self, root, runs, victims, codes):
        first, second = runs
        overlap = second.started < first.ended
        killed = [victim for victim in victims if codes[victim] == -signal.SIGKILL]
        self.rounds += 1
        self.sent += len(victims)
        self.late += len(victims) - len(killed)
        self.overlaps += overlap
        # They say so themselves: one found the other at work, or what it had left.
        self.meetings += any(word in run.said() for run in runs for word in ("waiting: ", "going on with run"))
        if overlap:
            self.landed += len(killed)
            self.places.update(place(root, runs[victim]) for victim in killed)

    def print(self, asked):
        print(
            f"{self.rounds} rounds, in {self.overlaps} both runs were alive at once, in {self.meetings} one met the other; "
            f"{self.sent} kills sent, {self.late} too late, {self.landed} landed of {asked} asked"
        )
        for name, count in self.places.most_common():
            print(f"  {count:>4} {name}")


def one(odibi, base, target, mode, times, rng, tally):
    """A round; a complaint or nothing."""
    root = base / "now"
    alone, lives = times
    victims = rng.choice([[0], [1], [0, 1]])
    moments = [rng.uniform(0, life) for life in lives]
    if rng.random() < 0.5:
        # The second one waits most of its life; this is in its work.
        moments[1] = rng.uniform(max(0, lives[1] - alone), lives[1])
    gap_max = min(GAP_MAX * alone, moments[0]) if 0 in victims else GAP_MAX * alone
    runs = [Run(odibi, root, base / "said 0")]
    until(runs[0].began + rng.uniform(0, gap_max))
    runs.append(Run(odibi, root, base / "said 1"))
    for moment, victim in sorted((runs[victim].began + moments[victim], victim) for victim in victims):
        until(moment)
        runs[victim].kill()
    codes = [run.code() for run in runs]
    for number, (code, run) in enumerate(zip(codes, runs)):
        if code != 0 and not (number in victims and code == -signal.SIGKILL):
            return f"a run ended with {code}: {run.said()}"
    seen = copies(sweep.read_target(root, target), mode)
    if seen is None:
        return f"after the kills the reader sees {sweep.read_target(root, target)}"
    code, text = sweep.run(odibi, root)
    if code != 0:
        return f"the last run ended with {code}: {text}"
    tally.add(root, runs, victims, codes)
    done = copies(sweep.read_target(root, target), mode)
    # Of runs that append each adds its rows; one that was killed may have, and then the next one goes on with it.
    least, most = (codes.count(0) + 1, 3) if mode == "append" else (1, 1)
    if done is None or not least <= done <= most:
        return f"at the end the reader sees {sweep.read_target(root, target)}; the runs ended with {codes}"
    left = [name for name in os.listdir(root) if name.startswith(".odibi-")]
    return f"the last run leaves {left}" if left else None


def prepared(odibi, base, cases):
    """For each case a project whose target holds the first rows, ready to write the batch."""
    starts = {}
    for target, mode in cases:
        root = starts[target, mode] = base / f"{target} {mode}"
        wrong = sweep.begin(odibi, root, target, mode, None)
        if wrong:
            sys.exit(f"{target} {mode}: the first run failed: {wrong}")
    return starts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    parser.add_argument("--kills", type=int, default=500, help="that have to land")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"SEED={seed}", flush=True)
    rng, odibi = random.Random(seed), os.path.abspath(asked.odibi)
    cases = [(target, mode) for target in sweep.TARGETS for mode in sweep.MODES]
    complaints, tally = [], Tally()
    with tempfile.TemporaryDirectory() as base:
        base = pathlib.Path(base)
        starts = prepared(odibi, base, cases)
        times = {target: measured(odibi, starts[target, "upsert"], base) for target in sweep.TARGETS}
        for target, (alone, lives) in times.items():
            shown = " and ".join(f"{life * 1000:.0f}" for life in lives)
            print(f"{target}: a run takes {alone * 1000:.0f} ms, two at once {shown} ms", flush=True)
        for number in range(asked.kills * ROUNDS_MAX):
            target, mode = cases[number % len(cases)]
            shutil.copytree(starts[target, mode], base / "now", symlinks=True)
            complaint = one(odibi, base, target, mode, times[target], rng, tally)
            if complaint:
                complaints.append(f"round {number}, {target} {mode}: {complaint}")
                print(complaints[-1], flush=True)
            shutil.rmtree(base / "now")
            if tally.landed >= asked.kills:
                break
    tally.print(asked.kills)
    if tally.landed < asked.kills:
        complaints.append("too few kills landed")
    if not tally.meetings:
        complaints.append("no run ever met the other")
    print(f"{len(complaints)} complaints: {complaints[-1]}" if complaints else "no complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
