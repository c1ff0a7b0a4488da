"""Judges OpenLineage events, one a line of each FILE, by the classes that the OpenLineage project generates from its
specification 2-0-2 and publishes: every key is one of theirs, what is required is there, and their own checks of UUIDs,
times and URIs pass. Prints how many events there were."""

import importlib
import importlib.util
import json
import pathlib
import sys
import types
import typing

import attr

# The package itself begins with an HTTP client, which nobody needs here; its generated classes are taken alone.
home = pathlib.Path(importlib.util.find_spec("openlineage").submodule_search_locations[0])
client = types.ModuleType("openlineage.client")
client.__path__ = [str(home / "client")]
sys.modules["openlineage.client"] = client
base = importlib.import_module("openlineage.client.generated.base")

FACETS = {
    "columnLineage": "column_lineage_dataset.ColumnLineageDatasetFacet",
    "documentation": "documentation_job.DocumentationJobFacet",
    "errorMessage": "error_message_run.ErrorMessageRunFacet",
    "jobType": "job_type_job.JobTypeJobFacet",
    "nominalTime": "nominal_time_run.NominalTimeRunFacet",
    "outputStatistics": "output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet",
    "parent": "parent_run.ParentRunFacet",
    "schema": "schema_dataset.SchemaDatasetFacet",
}


def facet(name):
    module, name = FACETS[name].split(".")
    return getattr(importlib.import_module(f"openlineage.client.generated.{module}"), name)


def build(kind, value, at):
    """An instance of a class or a value of a type, of JSON."""
    arguments = [inner for inner in typing.get_args(kind) if inner is not type(None)]
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        assert len(arguments) == 1, f"{at}: {kind}"
        return None if value is None else build(arguments[0], value, at)
    if origin is list:
        assert isinstance(value, list), f"{at}: no list"
        return [build(arguments[0], item, f"{at}/{index}") for index, item in enumerate(value)]
    if origin is dict:
        assert isinstance(value, dict), f"{at}: no object"
        facets = isinstance(arguments[1], type) and issubclass(arguments[1], base.BaseFacet)
        kinds = {name: facet(name) if facets else arguments[1] for name in value}
        for name, kind in kinds.items():
            assert not facets or issubclass(kind, arguments[1]), f"{at}: a facet `{name}` does not belong here"
        return {name: build(kinds[name], item, f"{at}/{name}") for name, item in value.items()}
    if attr.has(kind):
        return instance(kind, value, at)
    if issubclass(kind, base.EventType):
        return kind(value)
    assert type(value) is kind, f"{at}: {value!r} is no {kind.__name__}"
    return value


def instance(kind, value, at):
    assert isinstance(value, dict), f"{at}: no object"
    fields = {field.name: field for field in attr.fields(kind)}
    unknown = set(value) - set(fields)
    assert not unknown, f"{at}: {unknown} is not in {kind.__name__}"
    hints = typing.get_type_hints(kind)
    given = {}
    for name, field in fields.items():
        if name not in value:
            assert field.default is not attr.NOTHING, f"{at}: `{name}` is missing"
        elif field.init:
            given[field.alias] = build(hints[name], value[name], f"{at}/{name}")
        else:
            specified = kind._get_schema().split("/spec/")[1]
            document = value[name].split("/spec/")[-1]
            # Versions of a facet may differ; its document may not.
            assert document.split("/")[-1] == specified.split("/")[-1], f"{at}: {value[name]}"
    for name in ("_producer", "_schemaURL"):
        assert not issubclass(kind, base.BaseFacet) or name in value, f"{at}: `{name}` is missing"
    return kind(**given)


events = 0
for path in sys.argv[1:]:
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            event = json.loads(line)
            assert event["schemaURL"].startswith("https://openlineage.io/spec/2-0-2/"), event["schemaURL"]
            build(base.RunEvent, event, f"{path}:{number}")
            events += 1
print(events)
