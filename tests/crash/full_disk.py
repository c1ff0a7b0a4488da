"""Runs odibi on a disk of every size from almost none to enough: a run that fails leaves the target byte by byte as it was
and says that the disk is full, and the next one, with space, succeeds.

Mounts small file systems in memory: runs itself in a namespace of its own (`unshare`) where it is not root."""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import sweep

PAGE = 4096
ENOUGH_PAGES = 16 << 10
# A table that takes some pages, so that writing it can end in its midst.
ROWS = 4_000


def rows(first, text, texts):
    return [(number, f"{text}-{number * 7919 % texts}") for number in range(first, first + ROWS)]


def bytes_of(path):
    """A digest of a file, or of all files of a directory with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".odibi-"))
    return hashlib.sha256(b"".join(str(p).encode() + p.read_bytes() for p in files)).hexdigest()


def size(root, pages):
    subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", str(root)], check=True)


def used_pages(root):
    stat = os.statvfs(root)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize // PAGE


def case(odibi, start, disk, target, mode, expected, every):
    """Sizes tried, and complaints."""
    complaints, tried = [], 0
    form, path = sweep.TARGETS[target]
    spare = 0
    while True:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ENOUGH_PAGES * PAGE}", "tmpfs", str(disk)], check=True)
        try:
            shutil.copytree(start, disk, symlinks=True, dirs_exist_ok=True)
            before = bytes_of(disk / path)
            size(disk, used_pages(disk) + spare)
            code, said = sweep.run(odibi, disk)
            tried += 1
            name = f"{target} {mode} with {spare} pages left"
            if code != 0:
                if bytes_of(disk / path) != before:
                    complaints.append(f"{name}: it failed, and the target is another one")
                # The second is that of the scratch directory.
                if code < 0 or not re.search(r"error\[([a-z]+/disk-full|resources/disk)\]", said):
                    complaints.append(f"{name}: it ended with {code} and does not say why: {said[-600:]}")
                size(disk, ENOUGH_PAGES)
                again, said = sweep.run(odibi, disk)
                if again != 0:
                    complaints.append(f"{name}: with space, the next run failed: {said[-600:]}")
            left = [entry for entry in os.listdir(disk) if entry.startswith(".odibi-")]
            if left:
                complaints.append(f"{name}: {left} is left")
            wrong = sweep.read_target(disk, target) != expected
            if wrong:
                complaints.append(f"{name}: the table is wrong at the end")
            if code == 0:
                return tried, complaints
        finally:
            # Whoever else looks over this machine's files may hold it for a moment.
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        spare += every


def data(target):
    """The rows before, those of the batch, and by mode those after it."""
    # A partition for each text.
    texts = 3 if target == "parquet-partitions" else 10007
    before, batch = rows(0, "old", texts), rows(ROWS // 2, "new", texts)
    keyed, upserted = dict(before), dict(before)
    for key, value in batch:
        keyed.setdefault(key, value)
        upserted[key] = value
    return before, batch, {
        "overwrite": sorted(batch),
        "append": sorted(before + batch),
        "append_once": sorted(before + batch),
        "append_once-keyed": sorted(keyed.items()),
        "upsert": sorted(upserted.items()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    parser.add_argument("--every", type=int, default=1, help="so many pages from one size to the next")
    parser.add_argument("--only", default="", help="words that a case must hold")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        os.execvp("unshare", ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv])
    sizes, found = 0, []
    with tempfile.TemporaryDirectory() as base:
        start, disk = pathlib.Path(base) / "start", pathlib.Path(base) / "disk"
        disk.mkdir()
        for target in sweep.TARGETS:
            before, batch, expected = data(target)
            for mode in sweep.MODES:
                if not all(word in f"{target} {mode}".split() for word in asked.only.split()):
                    continue
                start.mkdir()
                sweep.write_csv(start / "before.csv", before)
                sweep.write_csv(start / "batch.csv", batch)
                sweep.project(start, target, "overwrite", "before.csv")
                odibi = os.path.abspath(asked.odibi)
                code, said = sweep.run(odibi, start)
                if code != 0:
                    sys.exit(f"{target} {mode}: the first run failed: {said}")
                sweep.project(start, target, mode, "batch.csv")
                tried, complaints = case(odibi, start, disk, target, mode, expected[mode], asked.every)
                sizes, found = sizes + tried, found + complaints
                print(f"{target} {mode}: {tried} sizes, {len(complaints)} complaints", flush=True)
                for complaint in complaints[:10]:
                    print(f"  {complaint}", flush=True)
                shutil.rmtree(start)
    print(f"{sizes} sizes, {len(found)} complaints")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
