#!/usr/bin/env python3
"""Judges what examples/flights wrote: every table, computed again from the same CSV files with pandas.

    check_flights.py [EXAMPLE-DIRECTORY [OUT-DIRECTORY]]    # default: examples/flights of this checkout, and its out/

Exits with 1 and the first differences when a row count, a name, a type or a value is not as it should be.
"""

import sys
from pathlib import Path

import pandas as pd
from tables import compare, great_circle_km, read_csv, report, sha256

JFK = (40.639751, -73.778925)

DEPARTURES = {
    "year": "int", "month": "int", "day": "int", "dep_time": "int", "sched_dep_time": "int", "dep_delay": "int",
    "arr_time": "int", "sched_arr_time": "int", "arr_delay": "int", "carrier": "text", "flight": "int",
    "tailnum": "text", "origin": "text", "dest": "text", "air_time": "int", "distance": "int", "time_hour": "time",
}  # fmt: skip
FLIGHT = ["time_hour", "carrier", "flight", "origin"]


def departures(csv: Path) -> pd.DataFrame:
    frame = read_csv(csv, times=("time_hour",)).drop(columns=["hour", "minute"])
    frame["tailnum"] = sha256(frame["tailnum"]).fillna("unknown")
    return frame


def last_seen(flights: pd.DataFrame) -> pd.DataFrame:
    order = ["time_hour", "sched_dep_time", "carrier", "flight", "origin"]
    newest = flights.sort_values(order, ascending=[False, False, True, True, True])
    return newest.drop_duplicates("tailnum", keep="first")


def with_distance(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    places = {row.airport: (row.lat, row.lon) for row in airports.itertuples()}

    def distance(row):
        ends = places.get(row.origin), places.get(row.dest)
        return None if None in ends else great_circle_km(*ends[0], *ends[1])

    return flights.assign(distance_km=[distance(row) for row in flights.itertuples()])


def main() -> None:
    here = Path(__file__).resolve().parent
    example = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent.parent / "examples" / "flights"
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else example / "out"
    data = example / "data"

    carriers = read_csv(data / "airlines.csv").rename(columns={"name": "carrier_name"})

    planes = read_csv(data / "planes.csv").drop(columns=["speed"]).rename(columns={"year": "year_built"})
    for name in ("manufacturer", "engine"):
        planes[name] = planes[name].str.strip().str.lower()
    planes["tailnum"] = sha256(planes["tailnum"])

    airports = read_csv(data / "airports.csv").rename(columns={"faa": "airport"})
    airports["name"] = airports["name"].str.strip()
    airports["from_jfk_km"] = [great_circle_km(row.lat, row.lon, *JFK) for row in airports.itertuples()]

    flights = with_distance(departures(data / "flights_week1.csv"), airports)
    served = pd.DataFrame({"airport": sorted({*flights["origin"], *flights["dest"]})})

    checks = [
        ("carriers.csv", carriers, {"carrier": "text", "carrier_name": "text"}, ["carrier"]),
        (
            "planes.parquet",
            planes,
            {"tailnum": "text", "year_built": "int", "type": "text", "manufacturer": "text", "model": "text"}
            | {"engines": "int", "seats": "int", "engine": "text"},
            ["tailnum"],
        ),
        (
            "airports.parquet",
            airports,
            {"airport": "text", "name": "text", "lat": "float", "lon": "float", "alt": "int", "tz": "int"}
            | {"dst": "text", "tzone": "text", "from_jfk_km": "float"},
            ["airport"],
        ),
        ("flights.parquet", flights, DEPARTURES | {"distance_km": "float"}, FLIGHT),
        (
            "last_seen.parquet",
            last_seen(flights),
            {"tailnum": "text", "time_hour": "time", "carrier": "text", "flight": "int", "origin": "text"}
            | {"dest": "text", "distance_km": "float"},
            ["tailnum"],
        ),
        ("airports_served.parquet", served, {"airport": "text"}, ["airport"]),
    ]
    report((out / name, lambda name=name, rest=rest: compare(out / name, *rest)) for name, *rest in checks)


if __name__ == "__main__":
    main()
