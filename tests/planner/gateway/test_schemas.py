"""The schemas of what to draw, against what is taken."""

from __future__ import annotations

import jsonschema
import pytest

from broker_config.errors import RequestRefusedError
from planner.client.request import build_submission
from planner.gateway.keys import Owner
from planner.gateway.orders import PLAIN_FIELDS, READ_FIELDS, order_of
from planner.gateway.schemas import order_schemas


def is_taken(settings, given):
    try:
        order = order_of(given, Owner(name="ann", may_high=True), ("tiny",), {})
        build_submission(settings, "ann.1", **order.fields)
    except RequestRefusedError:
        return False
    return True


def test_each_field_that_says_what_to_draw_has_a_schema(settings):
    of_the_answer = {"response_format", "output_format", "output_compression"}
    known = (PLAIN_FIELDS | READ_FIELDS) - of_the_answer - {"adapter", "strength", "partial_images"}
    assert order_schemas(settings).keys() == known


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("prompt", "x", ""),
        ("prompt", "x" * 4096, "x" * 4097),
        ("negative_prompt", "", "x" * 4097),
        ("size", "64x64", "64"),
        ("size", "auto", "64x"),
        ("n", 16, 17),
        ("n", 1, 0),
        ("num_inference_steps", 500, 501),
        ("guidance_scale", 100, 100.5),
        ("seed", 2**32 - 1, 2**32),
        ("seed", 0, -1),
        ("adapters", {"a": 10}, {"a": 10.5}),
        ("adapters", dict.fromkeys("abcdefgh", 1), dict.fromkeys("abcdefghi", 1)),
        ("adapters", {}, {"": 1}),
        ("labels", {"album": "x" * 128}, {"album": "x" * 129}),
        ("labels", {"a" * 63: ""}, {"a" * 64: ""}),
        ("labels", {"team/a.b": "x"}, {"a b": "x"}),
        ("labels", {f"n{number}": "" for number in range(16)}, {f"n{number}": "" for number in range(17)}),
        ("ingress", "x" * 63, "x" * 64),
        ("priority", "low", "urgent"),
        ("deadline_s", 1e10, 0),
    ],
)
def test_a_schema_ends_where_what_is_taken_ends(settings, field, good, bad):
    schema = {"type": "object", "properties": order_schemas(settings)}
    for value, is_valid in ((good, True), (bad, False)):
        given = {"prompt": "x", field: value}
        assert is_taken(settings, given) is is_valid
        assert jsonschema.Draft202012Validator(schema).is_valid(given) is is_valid
