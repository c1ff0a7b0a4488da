"""Judges projects, one as a line of JSON in DOCUMENTS, by the JSON Schema in SCHEMA. Prints a line for each: nothing in it
when the project fits, else the first fault."""

import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1]) as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
with open(sys.argv[2]) as documents:
    for line in documents:
        fault = next(validator.iter_errors(json.loads(line)), None)
        print("" if fault is None else f"{fault.json_path}: {fault.message[:200]!r}")
