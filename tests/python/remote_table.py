"""Reads what lies in an object store as somebody does who knows nothing of odibi: pyarrow for files, `deltalake` for tables.

`FORMAT PATH PLACES`: format is `parquet`, `csv`, `json` or `delta`; `PATH` is `s3/KEY` or `azure/KEY`; `PLACES` is what
`tests/servers` says of itself. Prints column names and sorted rows (values as texts) as JSON, and of a table its version.
Format `objects`: all that lies below the path, as `{name: [SHA-256, time of the last change]}`.
"""
import hashlib
import json
import os
import sys

import pyarrow.csv
import pyarrow.dataset
import pyarrow.fs
import pyarrow.json


def filesystem(kind, places):
    if kind == "s3":
        host = places["s3"].removeprefix("http://")
        return pyarrow.fs.S3FileSystem(
            access_key="id", secret_key="hunter2", endpoint_override=host, scheme="http", region="us-east-1"
        )
    host = places["azure"].removeprefix("http://").split("/")[0]
    return pyarrow.fs.AzureFileSystem(
        account_name=places["azure_account"],
        account_key=places["azure_key"],
        blob_storage_authority=host,
        dfs_storage_authority=host,
        blob_storage_scheme="http",
        dfs_storage_scheme="http",
    )


def options(kind, places):
    if kind == "s3":
        return "s3", {
            "aws_access_key_id": "id",
            "aws_secret_access_key": "hunter2",
            "aws_endpoint": places["s3"],
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    return "az", {
        "azure_storage_account_name": places["azure_account"],
        "azure_storage_account_key": places["azure_key"],
        "azure_storage_endpoint": places["azure"],
        "azure_storage_allow_http": "true",
        "allow_http": "true",
    }


def table(form, kind, key, places):
    if form == "delta":
        from deltalake import DeltaTable

        scheme, storage = options(kind, places)
        found = DeltaTable(f"{scheme}://{places['bucket']}/{key}", storage_options=storage)
        return found.to_pyarrow_table(), found.version()
    store, path = filesystem(kind, places), f"{places['bucket']}/{key}"
    if form == "json":
        with store.open_input_stream(path) as file:
            return pyarrow.json.read_json(file), None
    return pyarrow.dataset.dataset(path, format=form, filesystem=store, partitioning="hive").to_table(), None


def objects(kind, key, places):
    store = filesystem(kind, places)
    found = {}
    for info in store.get_file_info(pyarrow.fs.FileSelector(f"{places['bucket']}/{key}", recursive=True)):
        if info.type == pyarrow.fs.FileType.File:
            with store.open_input_stream(info.path) as file:
                found[info.path] = [hashlib.sha256(file.read()).hexdigest(), info.mtime_ns]
    return found


def said(form, kind, key, places):
    if form == "objects":
        return objects(kind, key, places)
    found, version = table(form, kind, key, places)
    names = found.schema.names
    cells = [[None if v is None else str(v) for v in found[name].to_pylist()] for name in names]
    rows = sorted(([*row] for row in zip(*cells)), key=str)
    return {"columns": names, "rows": rows, "version": version}


def main():
    form, path, places = sys.argv[1:]
    kind, key = path.split("/", 1)
    print(json.dumps(said(form, kind, key, json.loads(places))), flush=True)
    # Threads of the package may abort the interpreter while it ends.
    os._exit(0)


if __name__ == "__main__":
    main()
