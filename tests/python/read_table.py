"""Prints the column types and the rows of a Parquet file, as pyarrow reads them, as JSON. Values are texts."""
import json
import sys

import pyarrow.parquet

table = pyarrow.parquet.read_table(sys.argv[1])
columns = [[None if v is None else str(v) for v in column.to_pylist()] for column in table.columns]
print(
    json.dumps(
        {
            "types": {field.name: str(field.type) for field in table.schema},
            "rows": [list(row) for row in zip(*columns)],
        }
    )
)
