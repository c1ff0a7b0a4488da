"""The comparison must be able to fail: every kind of wrong file, planted."""

import tempfile
import unittest
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from tables import Different, compare, great_circle_km, read_csv, sha256

KINDS = {"id": "int", "name": "text", "x": "float", "at": "time"}


def right() -> dict:
    at = pa.array([0, 1_000_000, None], pa.timestamp("us"))
    return {"id": pa.array([1, 2, 3]), "name": pa.array(["a", None, "c"]), "x": pa.array([0.1, 0.2, None]), "at": at}


def judge(columns: dict) -> None:
    expected = pa.table(right()).to_pandas(types_mapper=pd.ArrowDtype)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table.parquet"
        pa.parquet.write_table(pa.table(columns), path)
        compare(path, expected, KINDS, ["id"])


class Compare(unittest.TestCase):
    def found(self, message: str, **changed) -> None:
        with self.assertRaisesRegex(Different, message):
            judge(right() | changed)

    def test_the_same_rows_are_fine_in_any_order(self):
        judge(right())
        judge({name: column.take(pa.array([2, 0, 1])) for name, column in right().items()})
        judge(right() | {"x": pa.array([0.1 + 1e-12, 0.2, None])})

    def test_a_wrong_value_is_found(self):
        self.found("1 values differ", name=pa.array(["a", None, "C"]))
        self.found("1 values differ", x=pa.array([0.1 + 1e-7, 0.2, None]))
        self.found("1 values differ", at=pa.array([0, 1_000_001, None], pa.timestamp("us")))

    def test_a_null_for_a_value_and_a_value_for_a_null_are_found(self):
        self.found("`name`: None, should be 'a'", name=pa.array([None, None, "c"]))
        self.found("`x`: 0.0, should be None", x=pa.array([0.1, 0.2, 0.0]))
        self.found("`name`: '', should be None", name=pa.array(["a", "", "c"]))

    def test_a_wrong_type_is_found(self):
        self.found("`id` has the type double", id=pa.array([1.0, 2.0, 3.0]))
        self.found("`at` has the type int64", at=pa.array([0, 1, None]))

    def test_lost_added_and_doubled_rows_are_found(self):
        for rows in ([0, 1], [0, 1, 2, 2]):
            with self.assertRaisesRegex(Different, f"{len(rows)} rows, should be 3"):
                judge({name: column.take(pa.array(rows)) for name, column in right().items()})
        with self.assertRaisesRegex(Different, "values differ"):
            judge({name: column.take(pa.array([0, 1, 1])) for name, column in right().items()})

    def test_wrong_names_and_order_of_columns_are_found(self):
        with self.assertRaisesRegex(Different, "columns are"):
            judge(dict(reversed(right().items())))
        with self.assertRaisesRegex(Different, "columns are"):
            judge(right() | {"more": pa.array([1, 2, 3])})


class Recomputing(unittest.TestCase):
    def test_na_is_null_and_integers_beside_it_stay_whole(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "table.csv"
            path.write_text("a,b,c\n1,NA,0.5\nNA,n/a,2\n")
            frame = read_csv(path)
        self.assertEqual(str(frame["a"].dtype), "Int64")
        self.assertEqual(frame["b"].isna().tolist(), [True, False])
        self.assertEqual(frame["c"].tolist(), [0.5, 2.0])

    def test_hash_and_distance_give_known_values(self):
        self.assertTrue(sha256(pd.Series(["abc"]))[0].startswith("ba7816bf8f01cfea"))
        self.assertAlmostEqual(great_circle_km(40.639751, -73.778925, 33.942536, -118.408075), 3974.205, 2)


if __name__ == "__main__":
    unittest.main()
