"""Targets that cannot be read, by their mode bits or because half of a file is gone: a write that needs them fails with a
code, leaves every byte as it is, and the next run, once they can be read again, is right."""

import argparse
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

import sweep

KEYED = ("append_once-keyed", "upsert")
# `overwrite` of one file needs nothing of what is there, and `append` to a directory only its list.
CASES = [
    ("no permission", target, mode)
    for target in sweep.TARGETS
    for mode in sweep.MODES
    if mode != "overwrite" or not sweep.TARGETS[target][1].startswith("out.")
] + [
    (how, target, mode)
    for how in ("no permission for a file", "half a file")
    for target in sweep.TARGETS
    for mode in KEYED
    # Half a CSV file is a CSV file.
    if (how, target) != ("half a file", "csv")
]
# Root may read everything, unless it gives that up.
WITHOUT_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def files(path):
    """Of a target, those with rows: readers pass by hidden ones and those of directories such as `_delta_log`."""
    if path.is_file():
        return [path]
    inside = [file for file in path.rglob("*") if file.is_file()]
    return sorted(file for file in inside if not any(part[0] in "._" for part in file.relative_to(path).parts))


def harm(how, path):
    """Harms the target; what undoes it."""
    victim = path if how == "no permission" else files(path)[0]
    if how == "half a file":
        whole = victim.read_bytes()
        victim.write_bytes(whole[: len(whole) // 2])
        return lambda: victim.write_bytes(whole)
    mode = stat.S_IMODE(victim.stat().st_mode)
    victim.chmod(0)
    return lambda: victim.chmod(mode)


def all_bytes(path):
    """Of the target, by file."""
    inside = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file: file.read_bytes() for file in inside}


def case(odibi, root, how, target, mode):
    """A complaint or nothing."""
    wrong = sweep.begin(odibi, root, target, mode, None)
    if wrong:
        return f"the first run failed: {wrong}"
    path = root / sweep.TARGETS[target][1]
    whole = all_bytes(path)
    undo = harm(how, path)
    half = all_bytes(path) if how == "half a file" else None
    command = [*WITHOUT_OVERRIDE, odibi, "run", str(root / "odibi.yaml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=sweep.RUN_SECONDS_MAX)
    if half is not None and all_bytes(path) != half:
        return "the harmed target is another one"
    undo()
    said = done.stdout + done.stderr
    if done.returncode != 1 or not re.search(r"error\[(read|write)/", said):
        return f"it ended with {done.returncode}: {said}"
    if all_bytes(path) != whole:
        return f"the target is another one: {sweep.read_target(root, target)}"
    code, said = sweep.run(odibi, root)
    if code != 0:
        return f"the next run failed: {said}"
    if sweep.read_target(root, target) != sweep.expected(mode):
        return f"the next run leaves {sweep.read_target(root, target)}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    odibi = os.path.abspath(parser.parse_args().odibi)
    complaints = 0
    for how, target, mode in CASES:
        with tempfile.TemporaryDirectory() as base:
            complaint = case(odibi, pathlib.Path(base) / "now", how, target, mode)
        if complaint:
            complaints += 1
            print(f"{how}, {target} {mode}: {complaint}", flush=True)
    print(f"{len(CASES)} cases, {complaints} complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
