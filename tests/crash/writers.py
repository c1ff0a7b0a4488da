"""Many processes write batches with overlapping keys into one table, and a judge looks whether some serial order of the
batches gives what is there."""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import sweep

MODES = ("append_once", "upsert")
KEYS = 200
KEYS_OF_A_BATCH = 12


def read(root, form):
    if form == "delta":
        from deltalake import DeltaTable

        table = DeltaTable(str(root / "out")).to_pyarrow_table()
    else:
        import pyarrow.dataset

        table = pyarrow.dataset.dataset(root / "out", format="parquet").to_table()
    return list(zip(table["id"].to_pylist(), table["s"].to_pylist()))


def prepare(root, form, mode, writers, batches, rng):
    """A project of its own for each writer; the rows of each batch."""
    plans = {}
    for writer in range(writers):
        home = root / f"writer-{writer}"
        home.mkdir()
        for batch in range(batches):
            name = f"{writer}-{batch}"
            keys = sorted(rng.sample(range(KEYS), KEYS_OF_A_BATCH))
            plans[writer, batch] = keys
            sweep.write_csv(home / f"{batch}.csv", [(key, name) for key in keys])
        (home / "odibi.yaml").write_text(
            "project: writers\nconnections: {here: {type: local, base_path: .}, there: {type: local, base_path: ..}}\n"
            "pipelines:\n  - pipeline: p\n    nodes:\n"
            "      - name: n\n        read: {connection: here, format: csv, path: '${BATCH}.csv'}\n"
            f"        write: {{connection: there, format: {form}, path: out/, mode: {mode}, keys: [id]}}\n"
        )
    return plans


def write_all(odibi, root, writers, batches):
    """All at once, each its batches in turn; what went wrong."""
    loop = 'for b in $(seq 0 $2); do BATCH=$b "$1" run -q >said.$b 2>&1 || { echo "batch $b ended with $?"; cat said.$b; exit 1; }; done'
    processes = [
        subprocess.Popen(
            ["sh", "-c", loop, "sh", odibi, str(batches - 1)], cwd=root / f"writer-{writer}",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for writer in range(writers)
    ]
    said = [process.communicate()[0] for process in processes]
    return [f"writer {number}: {text}" for number, text in enumerate(said) if text]


def judge(rows, plans, mode):
    """Complaints. A batch that holds a key comes after the one whose row is there if the first stays, before it if the last does."""
    complaints, owner = [], {}
    for key, name in rows:
        if key in owner:
            complaints.append(f"key {key} is there twice")
        owner[key] = tuple(int(part) for part in name.split("-"))
    after = {batch: set() for batch in plans}
    for (writer, batch), keys in plans.items():
        if (writer, batch + 1) in plans:
            after[writer, batch].add((writer, batch + 1))
        for key in keys:
            if key not in owner:
                complaints.append(f"key {key} is lost")
            elif owner[key] != (writer, batch):
                first, second = ((writer, batch), owner[key]) if mode == "upsert" else (owner[key], (writer, batch))
                after[first].add(second)
    for key, batch in owner.items():
        if key not in plans.get(batch, ()):
            complaints.append(f"key {key} has a row that no batch of it holds: {batch}")
    return complaints + ([] if serial(after) else ["no serial order of the batches gives this"])


def serial(after):
    """Is there an order in which each comes before those that it must come before?"""
    before = {batch: 0 for batch in after}
    for seconds in after.values():
        for second in seconds:
            before[second] += 1
    free, placed = [batch for batch, count in before.items() if not count], 0
    while free:
        placed += 1
        for second in after[free.pop()]:
            before[second] -= 1
            if not before[second]:
                free.append(second)
    return placed == len(after)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("odibi")
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"SEED={seed}", flush=True)
    rng, found = random.Random(seed), 0
    for form in ("parquet", "delta"):
        for mode in MODES:
            with tempfile.TemporaryDirectory() as root:
                root = pathlib.Path(root)
                plans = prepare(root, form, mode, asked.writers, asked.batches, rng)
                complaints = write_all(os.path.abspath(asked.odibi), root, asked.writers, asked.batches)
                complaints += judge(read(root, form), plans, mode)
            found += len(complaints)
            print(f"{form} {mode}: {asked.writers} writers, {asked.batches} batches each, {len(complaints)} complaints", flush=True)
            for complaint in complaints[:20]:
                print(f"  {complaint}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
