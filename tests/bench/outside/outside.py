"""The other sides of the benchmarks `io` and `upsert`, and what measures all sides alike.

    outside.py measure COMMAND…        runs it; prints seconds of wall time, seconds of CPU time, peak bytes of memory
    outside.py polars IN OUT           filter, derive, write one Parquet file
    outside.py duckdb IN OUT           the same
    outside.py deltalake TABLE BATCH   merges a Parquet file into a Delta table by `id`; prints CPU and wall seconds of the merge alone
    outside.py make-delta IN TABLE     a Delta table of one Parquet file
    outside.py count PATH              rows and a sum over one of their columns, to see that all sides did the same
"""

import os
import sys
import time


def measure(command):
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{command[:3]} ended with {os.waitstatus_to_exitcode(status)}")
    print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def polars(source, target):
    import polars as pl

    column = pl.col
    (
        pl.scan_parquet(source)
        .filter((column("l_quantity") > 10) & (column("l_shipmode") != "AIR"))
        .with_columns(
            (column("l_extendedprice") * (1 - column("l_discount")) * (1 + column("l_tax"))).alias("charge"),
            (column("l_receiptdate") - column("l_shipdate")).dt.total_days().alias("days"),
            column("l_comment").str.to_uppercase().alias("loud"),
        )
        .sink_parquet(target, compression="snappy", row_group_size=1 << 20)
    )


def duckdb(source, target):
    import duckdb

    duckdb.sql(
        f"""COPY (SELECT *, l_extendedprice * (1 - l_discount) * (1 + l_tax) AS charge,
                 date_diff('day', l_shipdate, l_receiptdate) AS days, upper(l_comment) AS loud
                 FROM '{source}' WHERE l_quantity > 10 AND l_shipmode <> 'AIR')
            TO '{target}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 1048576)"""
    )


def deltalake(table, batch):
    import pyarrow.parquet
    from deltalake import DeltaTable

    start, cpu = time.perf_counter(), time.process_time()
    rows = pyarrow.parquet.read_table(batch)
    merge = DeltaTable(table).merge(rows, predicate="t.id = s.id", source_alias="s", target_alias="t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    print(time.perf_counter() - start, time.process_time() - cpu)


def make_delta(source, table):
    import pyarrow
    import pyarrow.parquet
    from deltalake import write_deltalake

    file = pyarrow.parquet.ParquetFile(source)
    write_deltalake(table, pyarrow.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches()))


def count(path):
    import pyarrow.compute
    import pyarrow.dataset
    from deltalake import DeltaTable

    data = DeltaTable(path).to_pyarrow_dataset() if os.path.isdir(path) else pyarrow.dataset.dataset(path)
    name = "charge" if "charge" in data.schema.names else "price"
    column = data.to_table(columns=[name])[name]
    print(len(column), round(pyarrow.compute.sum(column).as_py(), 2))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "measure":
        measure(arguments)
    else:
        {"polars": polars, "duckdb": duckdb, "deltalake": deltalake, "make-delta": make_delta, "count": count}[what](*arguments)
