"""What the OpenAPI document is made of. The whole is in test_openapi."""

from __future__ import annotations

from planner.gateway.openapi_parts import TEXT, json_answer, object_of, operation, or_null, parameter


def test_every_operation_may_be_refused_and_one_with_a_body_for_its_body_too():
    plain = operation("Look.", json_answer(TEXT), problems=(404,))
    assert sorted(plain["responses"]) == ["200", "401", "403", "404", "429", "500", "503"]
    assert "requestBody" not in plain
    with_body = operation("Send.", json_answer(TEXT, 202), body=object_of({"a": TEXT}))
    assert {"400", "408", "413", "422"} < with_body["responses"].keys()
    assert with_body["responses"]["422"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Problem"
    }


def test_an_object_needs_all_that_it_has_unless_some_are_named_and_has_nothing_else():
    assert object_of({"a": TEXT, "b": TEXT})["required"] == ["a", "b"]
    assert object_of({"a": or_null(TEXT), "b": TEXT}, ("b",)) == {
        "type": "object",
        "properties": {"a": {"anyOf": [TEXT, {"type": "null"}]}, "b": TEXT},
        "required": ["b"],
        "additionalProperties": False,
    }


def test_what_is_in_a_path_is_always_needed():
    assert parameter("path", "job", TEXT, "Its id.")["required"]
    assert "required" not in parameter("query", "limit", TEXT, "How many.")
