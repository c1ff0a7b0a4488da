"""TPC-H: typed Parquet files of the generated tables, and DuckDB's answers to compare ours with.

    tpch.py make TABLES             TABLES/*.tbl to TABLES/*.parquet
    tpch.py check TABLES OUT SQL    each SQL/qNN.sql on TABLES against OUT/qNN.parquet
"""

import datetime
import decimal
import sys
from pathlib import Path

import duckdb

# Sums of decimals are exact on both sides. What is divided is a double in one and a decimal of a few digits in the other.
TOLERANCE = 1e-4
DIFFERENCES_SHOWN = 5

KEY, PRICE, DAY, TEXT, INT = "BIGINT", "DECIMAL(15, 2)", "DATE", "VARCHAR", "INTEGER"
TABLES = {
    "region": {"r_regionkey": KEY, "r_name": TEXT, "r_comment": TEXT},
    "nation": {"n_nationkey": KEY, "n_name": TEXT, "n_regionkey": KEY, "n_comment": TEXT},
    "supplier": {
        "s_suppkey": KEY, "s_name": TEXT, "s_address": TEXT, "s_nationkey": KEY, "s_phone": TEXT, "s_acctbal": PRICE,
        "s_comment": TEXT,
    },
    "part": {
        "p_partkey": KEY, "p_name": TEXT, "p_mfgr": TEXT, "p_brand": TEXT, "p_type": TEXT, "p_size": INT,
        "p_container": TEXT, "p_retailprice": PRICE, "p_comment": TEXT,
    },
    "partsupp": {"ps_partkey": KEY, "ps_suppkey": KEY, "ps_availqty": INT, "ps_supplycost": PRICE, "ps_comment": TEXT},
    "customer": {
        "c_custkey": KEY, "c_name": TEXT, "c_address": TEXT, "c_nationkey": KEY, "c_phone": TEXT, "c_acctbal": PRICE,
        "c_mktsegment": TEXT, "c_comment": TEXT,
    },
    "orders": {
        "o_orderkey": KEY, "o_custkey": KEY, "o_orderstatus": TEXT, "o_totalprice": PRICE, "o_orderdate": DAY,
        "o_orderpriority": TEXT, "o_clerk": TEXT, "o_shippriority": INT, "o_comment": TEXT,
    },
    "lineitem": {
        "l_orderkey": KEY, "l_partkey": KEY, "l_suppkey": KEY, "l_linenumber": INT, "l_quantity": PRICE,
        "l_extendedprice": PRICE, "l_discount": PRICE, "l_tax": PRICE, "l_returnflag": TEXT, "l_linestatus": TEXT,
        "l_shipdate": DAY, "l_commitdate": DAY, "l_receiptdate": DAY, "l_shipinstruct": TEXT, "l_shipmode": TEXT,
        "l_comment": TEXT,
    },
}


def make(tables: Path) -> None:
    for table, columns in TABLES.items():
        # Each row ends with a `|` too.
        listed = ", ".join(f"'{name}': '{kind}'" for name, kind in [*columns.items(), ("end_of_row", TEXT)])
        source = f"read_csv('{tables / table}.tbl', delim = '|', header = false, quote = '', columns = {{{listed}}})"
        duckdb.sql(f"COPY (SELECT * EXCLUDE end_of_row FROM {source}) TO '{tables / table}.parquet' (FORMAT parquet)")


def same(ours: object, theirs: object) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    numbers = (int, float, decimal.Decimal)
    if isinstance(ours, numbers) and isinstance(theirs, numbers):
        if isinstance(ours, (int, decimal.Decimal)) and isinstance(theirs, (int, decimal.Decimal)):
            return ours == theirs
        return abs(float(ours) - float(theirs)) <= TOLERANCE
    if isinstance(ours, datetime.datetime) or isinstance(theirs, datetime.datetime):
        return str(ours)[:10] == str(theirs)[:10]
    return type(ours) is type(theirs) and ours == theirs


def check(tables: Path, out: Path, queries: Path) -> int:
    connection = duckdb.connect()
    for table in TABLES:
        connection.sql(f"CREATE VIEW {table} AS SELECT * FROM '{tables / table}.parquet'")
    equal = 0
    for path in sorted(queries.glob("q*.sql")):
        theirs = connection.sql(path.read_text())
        ours = connection.sql(f"SELECT * FROM '{out / path.stem}.parquet'")
        faults = []
        if [name.lower() for name in ours.columns] != [name.lower() for name in theirs.columns]:
            faults.append(f"columns {ours.columns}, not {theirs.columns}")
        our_rows, their_rows = ours.fetchall(), theirs.fetchall()
        if len(our_rows) != len(their_rows):
            faults.append(f"{len(our_rows)} rows, not {len(their_rows)}")
        if not their_rows:
            faults.append("no row: this compares nothing")
        for at, (our, their) in enumerate(zip(our_rows, their_rows)):
            if not all(map(same, our, their)):
                faults.append(f"row {at}: {our}, not {their}")
        for fault in faults[:DIFFERENCES_SHOWN]:
            print(f"{path.stem}: {fault}")
        equal += not faults
        print(f"{path.stem}: {len(their_rows)} rows {'differ' if faults else 'equal'}")
    print(f"{equal} answers equal")
    return 0 if equal == len(list(queries.glob("q*.sql"))) else 1


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    paths = [Path(path) for path in paths]
    if command == "make":
        make(*paths)
    else:
        sys.exit(check(*paths))
