"""Which column types survive which format.

`make DIR`: an Arrow file `TYPE.arrow` with one column `c` for each type. `read DIR`: what pyarrow (and for Delta tables
`deltalake`) finds in `TYPE.parquet`, `.csv`, `.jsonl`, `.out.arrow` and the table `TYPE.delta`, as JSON: a type, and whether the
values are those that were made.
"""
import datetime
import decimal
import json
import os
import pathlib
import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

DAY = datetime.date(2026, 1, 31)
MOMENT = datetime.datetime(2026, 1, 31, 23, 59, 59)
TYPES = {
    "bool": (pa.bool_(), [True, False]),
    "int8": (pa.int8(), [-128, 127]),
    "int16": (pa.int16(), [-32768, 32767]),
    "int32": (pa.int32(), [-(2**31), 2**31 - 1]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1]),
    "uint8": (pa.uint8(), [0, 255]),
    "uint16": (pa.uint16(), [0, 65535]),
    "uint32": (pa.uint32(), [0, 2**32 - 1]),
    "uint64": (pa.uint64(), [0, 2**64 - 1]),
    "float32": (pa.float32(), [0.1, -1.5e30]),
    "float64": (pa.float64(), [0.1, -1.5e300]),
    "text": (pa.string(), ["", "Zürich, \"x\"\n"]),
    "text that looks like numbers": (pa.string(), ["007", "1e3"]),
    "large text": (pa.large_string(), ["a", "ü"]),
    "bytes": (pa.binary(), [b"", b"\x00\xff"]),
    "date": (pa.date32(), [DAY, datetime.date(1969, 12, 31)]),
    "timestamp s": (pa.timestamp("s"), [MOMENT, MOMENT]),
    "timestamp ms": (pa.timestamp("ms"), [MOMENT.replace(microsecond=123000), MOMENT]),
    "timestamp us": (pa.timestamp("us"), [MOMENT.replace(microsecond=123456), MOMENT]),
    "timestamp ns": (pa.timestamp("ns"), [1_700_000_000_123_456_789, 0]),
    "timestamp utc": (pa.timestamp("us", "UTC"), [MOMENT.replace(microsecond=123456), MOMENT]),
    "timestamp zone": (pa.timestamp("us", "Europe/Berlin"), [MOMENT, MOMENT]),
    "time": (pa.time64("us"), [datetime.time(23, 59, 59, 123456), datetime.time(0)]),
    "duration": (pa.duration("us"), [1, 10**12]),
    "decimal": (pa.decimal128(20, 4), [decimal.Decimal("1234567890123456.7891"), decimal.Decimal("-0.5000")]),
    "list": (pa.list_(pa.int64()), [[1, None], []]),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 1, "b": "x"}, {"a": None, "b": ""}]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("k", 1)], []]),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["a", "b"]),
    "null": (pa.null(), [None, None]),
}


def column(name):
    data_type, values = TYPES[name]
    return pa.array([*values, None], data_type)


def make(directory):
    for name in TYPES:
        table = pa.table({"n": pa.array([1, 2, 3]), "c": column(name)})
        with pa.ipc.new_file(directory / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    return list(TYPES)


def found(directory, name, form):
    path = directory / f"{name}.{form}"
    if not path.exists():
        return None
    if form == "delta":
        from deltalake import DeltaTable

        return DeltaTable(path).to_pyarrow_table() if (path / "_delta_log").exists() else None
    if form == "csv":
        convert = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    if form == "jsonl":
        return pyarrow.json.read_json(path)
    if form == "out.arrow":
        return pyarrow.feather.read_table(path)
    return pyarrow.parquet.read_table(path)


def same(column, made):
    """Are the values those that were made, whatever the type is called?"""
    try:
        return column.cast(made.type).combine_chunks().to_pylist() == made.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        return [str(v) for v in column.to_pylist()] == [str(v) for v in made.to_pylist()]


def read(directory):
    cells = {}
    for name in TYPES:
        made = column(name)
        for form in ("parquet", "csv", "jsonl", "out.arrow", "delta"):
            try:
                table = found(directory, name, form)
                if table is None:
                    continue
                if "c" not in table.column_names:
                    cells[f"{name} {form}"] = "gone"
                    continue
                read = table.sort_by("n")["c"]
                text = "kept" if read.type == made.type else str(read.type).replace("\n", " ")
                cells[f"{name} {form}"] = text if same(read, made) else f"{text}, other values"
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                cells[f"{name} {form}"] = f"unreadable: {str(error)[:60]}"
    return cells


print(json.dumps({"make": make, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2]))), flush=True)
# Threads of a package may abort the interpreter while it ends.
os._exit(0)
