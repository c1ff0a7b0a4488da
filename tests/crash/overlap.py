"""Two runs of one pipeline at once, one or both killed at a random moment, then a last one: no row lost, none twice."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import sweep

WAIT = "60s"
# Within this time a run of three rows is done, also with a debug build.
KILL_SECONDS_MAX = 1.5


def start(odibi, root):
    command = [odibi, "run", str(root / "odibi.yaml"), "--wait", WAIT]
    return subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


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


def one(odibi, root, target, mode, rng):
    """A round; a complaint or nothing."""
    runs = [start(odibi, root)]
    time.sleep(rng.uniform(0, 0.05))
    runs.append(start(odibi, root))
    victims = rng.choice([[0], [1], [0, 1], [0], [0, 1], []])
    moments = sorted((rng.uniform(0, KILL_SECONDS_MAX) ** 2 / KILL_SECONDS_MAX, victim) for victim in victims)
    began = time.monotonic()
    for moment, victim in moments:
        time.sleep(max(0, began + moment - time.monotonic()))
        try:
            os.killpg(runs[victim].pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    said = [process.communicate(timeout=sweep.RUN_SECONDS_MAX)[1] for process in runs]
    codes = [process.returncode for process in runs]
    for code, text in zip(codes, said):
        if code not in (0, -signal.SIGKILL):
            return f"a run ended with {code}: {text}"
    seen = copies(sweep.read_target(root, target), mode)
    if seen is None:
        return f"after the kills the reader sees {sweep.read_target(root, target)}"
    code, text = sweep.run(odibi, root)
    if code != 0:
        return f"the last run ended with {code}: {text}"
    done = copies(sweep.read_target(root, target), mode)
    # Of two runs that append, each adds its rows; one that was killed may have, and is then not repeated by the next.
    least, most = (codes.count(0) + (codes.count(0) == 2), 3) if mode == "append" else (1, 1)
    if done is None or not least <= done <= most:
        return f"at the end the reader sees {sweep.read_target(root, target)}; the runs ended with {codes}"
    left = [name for name in os.listdir(root) if name.startswith(".odibi-")]
    return f"the last run leaves {left}" if left else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"SEED={seed}", flush=True)
    rng, odibi = random.Random(seed), os.path.abspath(asked.odibi)
    cases = [(target, mode) for target in sweep.TARGETS for mode in sweep.MODES]
    complaints = []
    with tempfile.TemporaryDirectory() as base:
        base = pathlib.Path(base)
        starts = {}
        for target, mode in cases:
            root = starts[target, mode] = base / f"{target} {mode}"
            root.mkdir()
            sweep.write_csv(root / "before.csv", sweep.BEFORE)
            sweep.write_csv(root / "batch.csv", sweep.BATCH)
            sweep.project(root, target, "overwrite", "before.csv")
            code, said = sweep.run(odibi, root)
            if code != 0:
                sys.exit(f"{target} {mode}: the first run failed: {said}")
            sweep.project(root, target, mode, "batch.csv")
        for number in range(asked.rounds):
            target, mode = cases[number % len(cases)]
            root = base / "now"
            shutil.copytree(starts[target, mode], root, symlinks=True)
            complaint = one(odibi, root, target, mode, rng)
            if complaint:
                complaints.append(f"round {number}, {target} {mode}: {complaint}")
                print(complaints[-1], flush=True)
            shutil.rmtree(root)
    print(f"{asked.rounds} rounds, {len(complaints)} complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
