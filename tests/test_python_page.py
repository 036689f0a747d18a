"""docs/python.md has the whole Python API, and nothing that is not there. Its examples run in tests/acceptance."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from source_tree import ROOT

import broker_config.errors
import planner
import planner.errors
from broker_config.messages import Event
from broker_config.settings import Settings
from planner import AsyncClient, AsyncJobHandle, Client, JobHandle, Result, ResultImage
from planner.client.request import JobFields, build_submission

PAGE = (ROOT / "docs" / "python.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*)\n([\s\S]*?)(?=^## |\Z)", PAGE, re.MULTILINE))
SETTINGS = Settings(_env_file=None)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of a section's table, without its two head rows."""
    lines = [line for line in SECTIONS[heading].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def described(heading: str) -> list[str]:
    """Return what stands as code in the first cells of a section's table."""
    return [name for row in rows(heading) for name in re.findall(r"`(.+?)`", row[0])]


def members(thing: object) -> set[str]:
    """Return the public members of an object or of a dataclass: methods as they are called."""
    names = {*dir(thing), *getattr(thing, "__dataclass_fields__", {})}
    return {called(name, getattr(thing, name, None)) for name in names if not name.startswith("_")}


def called(name: str, member: object) -> str:
    if not inspect.isroutine(member):
        return name
    parameters = inspect.signature(member).parameters.values()
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in parameters if one.name != "self"]
    return name + str(inspect.Signature(bare))


@pytest.mark.parametrize(
    ("heading", "thing"),
    [
        ("Client, AsyncClient", Client(SETTINGS)),
        ("Client, AsyncClient", AsyncClient(SETTINGS)),
        ("JobHandle, AsyncJobHandle", JobHandle("job-1", session=None)),
        ("JobHandle, AsyncJobHandle", AsyncJobHandle("job-1", session=None)),
        ("Result", Result),
        ("ResultImage", ResultImage),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_member_of_the_api_is_on_the_page_as_it_is_called_and_no_other(heading, thing):
    assert sorted(described(heading)) == sorted(members(thing))


def test_each_public_name_has_its_section():
    named = [name for heading in SECTIONS for name in heading.split(", ")]
    assert set(planner.__all__) <= set(named)


def test_the_page_has_each_field_of_a_request_with_its_default():
    assert described("Fields of a request") == list(JobFields.__annotations__)
    defaults = {row[0].strip("`"): ast.literal_eval(row[1].strip("`")) for row in rows("Fields of a request")[1:]}
    given = {"prompt": "x", "idempotency_key": "order-7", "seed": 1}
    plain, spelt = (build_submission(SETTINGS, "c", **fields) for fields in (given, {**defaults, **given}))
    assert plain == spelt


def test_the_page_has_each_field_of_an_event():
    assert sorted(described("Event")) == sorted(Event.model_fields)


def test_each_error_of_the_page_is_what_it_says():
    known = vars(broker_config.errors) | vars(planner.errors) | {"TimeoutError": TimeoutError}
    verbs = {name.split("(")[0] for heading in list(SECTIONS)[1:4] for name in described(heading)}
    for error, base, raised_by, _ in rows("Errors"):
        assert issubclass(known[error.strip("`")], known[base.strip("`")])
        assert issubclass(known[error.strip("`")], broker_config.errors.LadleError)
        assert set(re.findall(r"`(\w+)`", raised_by)) <= verbs | {"Client"}


def test_the_page_has_each_error_that_a_client_can_meet():
    ends = {name for name, found in vars(planner.errors).items() if name.startswith("Job") and inspect.isclass(found)}
    raised = set(re.findall(r"(\w+Error)\b", "".join(inspect.getsource(each) for each in (JobHandle, Client))))
    assert ends | raised - {"TimeoutError"} <= set(described("Errors"))


def test_the_first_errors_are_where_the_page_says():
    first = described("Errors")
    assert [name for name in first if hasattr(broker_config.errors, name)] == first[:4]


def test_each_name_in_can_i_use_is_explained_further_down():
    below = {name.split("(")[0] for heading in list(SECTIONS)[1:] for name in described(heading)}
    known = {*below, *planner.__all__, *(f"LADLE_{name.upper()}" for name in Settings.model_fields)}
    named = re.findall(r"`(?:client\.)?(\w+)(?:\([^`]*\))?`", SECTIONS["Can I use?"])
    assert set(named) <= known
