"""Reads or makes a Delta table with the Python package `deltalake`.

`read PATH`: version, columns, rows (sorted, values as texts) and the batches of its commits, as JSON.
`make PATH`: five versions with partitions of any text, nulls, a column that came later, and a checkpoint.
"""
import json
import os
import sys

import pyarrow
from deltalake import DeltaTable, write_deltalake


def read(path):
    table = DeltaTable(path)
    rows = table.to_pyarrow_table()
    names = sorted(rows.schema.names)
    cells = [[None if v is None else str(v) for v in rows[name].to_pylist()] for name in names]
    commits = table.history()
    return {
        "version": table.version(),
        "columns": {name: str(rows.schema.field(name).type) for name in names},
        "partitions": table.metadata().partition_columns,
        "rows": sorted(([*row] for row in zip(*cells)), key=str),
        "batches": [c["odibiBatch"] for c in commits if "odibiBatch" in c],
    }


def make(path):
    def rows(ids, texts, **more):
        return pyarrow.table({"id": pyarrow.array(ids, pyarrow.int64()), "p": texts, **more})

    write_deltalake(path, rows([1, 2], ["a b", "ü/%=&?"]), partition_by=["p"])
    write_deltalake(path, rows([3, None], ["a b", None]), mode="append")
    more = pyarrow.array([7, None], pyarrow.decimal128(9, 2))
    write_deltalake(path, rows([4, 5], ["x", "x"], n=more), mode="append", schema_mode="merge")
    DeltaTable(path).create_checkpoint()
    DeltaTable(path).delete("id = 1")
    write_deltalake(path, rows([6], ["ü/%=&?"], n=pyarrow.array([1], pyarrow.decimal128(9, 2))), mode="append")
    return {"version": DeltaTable(path).version()}


print(json.dumps({"read": read, "make": make}[sys.argv[1]](sys.argv[2])), flush=True)
# Threads of the package may abort the interpreter while it ends.
os._exit(0)
