"""From the fields of a request to an order. Whole requests are in test_openai_images.py and test_webui_routes.py."""

from __future__ import annotations

import pytest

from broker_config.errors import RequestRefusedError
from planner.client.request import JOB_FIELDS, build_submission
from planner.gateway.keys import Owner
from planner.gateway.orders import PLAIN_FIELDS, READ_FIELDS, ImageOrder, compression_of, order_of
from planner.gateway.problems import HttpProblem

ANN = Owner(name="ann")
MODELS = ("tiny", "big")
DEFAULTS = {"big": {"size": "1024x1024", "num_inference_steps": 28}}


def order(**fields):
    return order_of({"prompt": "x", **fields}, ANN, MODELS, DEFAULTS)


def test_what_is_not_said_is_left_to_the_python_api():
    assert order() == ImageOrder(fields={"prompt": "x", "model": "tiny"})
    assert order(size="auto", seed=None, n=None, user=None) == order()


def test_every_field_of_the_python_api_can_be_said_or_comes_another_way():
    assert JOB_FIELDS - PLAIN_FIELDS - READ_FIELDS == {"image", "idempotency_key"}


def test_a_form_means_what_a_json_object_means(settings):
    form = {"n": "2", "seed": "7", "guidance_scale": "4.5", "num_inference_steps": "9", "deadline_s": "60"}
    plain = {"n": 2, "seed": 7, "guidance_scale": 4.5, "num_inference_steps": 9, "deadline_s": 60.0}
    submissions = [
        build_submission(settings, "c", **order(**fields).fields, idempotency_key="k") for fields in (form, plain)
    ]
    assert submissions[0] == submissions[1]
    assert order(stream="true", output_compression="30") == order(stream=True, output_compression=30)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("pixel", "pixel"),
        (["pixel", "oil"], ["pixel", "oil"]),
        ({"pixel": 0.5}, {"pixel": 0.5}),
        ([{"name": "pixel", "weight": 0.5}, {"name": "oil"}], {"pixel": 0.5, "oil": 1.0}),
    ],
)
def test_adapters_are_a_name_or_names_or_have_weights(given, taken):
    assert order(adapters=given).fields["adapters"] == taken


@pytest.mark.parametrize("given", [[{"name": "pixel"}, {"name": "pixel"}], [{"name": "pixel", "scale": 1}]])
def test_an_adapter_that_is_named_twice_or_has_other_fields_is_refused(given):
    with pytest.raises(RequestRefusedError, match="adapters: an adapter is a name and a weight"):
        order(adapters=given)


def test_labels_are_an_object_or_in_a_form_its_text():
    assert order(labels={"album": "spring"}).fields["labels"] == {"album": "spring"}
    assert order(labels='{"album": "spring"}') == order(labels={"album": "spring"})


@pytest.mark.parametrize("labels", ["album=spring", "[]", [], 5, "null", "{"])
def test_what_is_no_object_is_no_labels(labels):
    with pytest.raises(RequestRefusedError, match=r"labels: .* is no object of names and values"):
        order(labels=labels)


def test_a_picture_to_start_from_is_bytes_never_a_name():
    assert order_of({"prompt": "x"}, ANN, MODELS, {}, b"PNG").fields["image"] == b"PNG"
    with pytest.raises(RequestRefusedError, match="image: no such field"):
        order(image="/etc/passwd")
    with pytest.raises(RequestRefusedError, match="idempotency_key: no such field"):
        order(idempotency_key="http.bob.x")


def test_a_model_name_that_clients_have_built_in_means_the_default_one():
    named = order(model="gpt-image-1")
    assert named.fields["model"] == "tiny"
    assert named.warnings == ("model gpt-image-1 is not served, tiny is",)
    assert order(model="big").warnings == ()


@pytest.mark.parametrize("model", ["/models/x", "http://x/y", "dall-e-3/../../x", 7, ["tiny"]])
def test_no_other_model_can_be_named(model):
    with pytest.raises(HttpProblem) as refused:
        order(model=model)
    assert (refused.value.status, refused.value.param) == (404, "model")


@pytest.mark.parametrize("priority", ["high", "HIGH", "h\u0131gh"])
def test_high_priority_is_for_those_who_may(priority):
    """However it is written: the upper case of a dotless i is an I."""
    with pytest.raises(HttpProblem) as refused:
        order(priority=priority)
    assert (refused.value.status, refused.value.param) == (403, "priority")
    allowed = order_of({"prompt": "x", "priority": "high"}, Owner(name="bob", may_high=True), MODELS, {})
    assert allowed.fields["priority"] == "high"


@pytest.mark.parametrize("value", [-1, 101, "x", None, [], float("inf"), float("nan")])
def test_a_compression_is_a_number_from_0_to_100(value):
    with pytest.raises(RequestRefusedError, match="no number from 0 to 100"):
        compression_of(value)
    assert [compression_of(number) for number in (0, "50", 100)] == [0, 50, 100]


def test_what_is_left_unsaid_is_the_models_own():
    assert order(model="big", size="auto").fields == {"prompt": "x", "model": "big", **DEFAULTS["big"]}
    said = order(model="big", size="64x64", num_inference_steps=2).fields
    assert (said["size"], said["num_inference_steps"]) == ("64x64", 2)
    assert "size" not in order(model="tiny").fields
