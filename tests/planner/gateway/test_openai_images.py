"""The real `openai` package, and what no client sends, against a gateway, a planner and a node."""

from __future__ import annotations

import base64
import io
import urllib.request

import openai
import pytest
from PIL import Image

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def picture(b64_json):
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def test_an_image_comes_in_both_forms_where_none_is_asked_for(client):
    answer = client.images.generate(prompt="a red heart", model="tiny", extra_body={"seed": 7})
    drawn = picture(answer.data[0].b64_json)
    assert (drawn.format, drawn.size) == ("PNG", (64, 64))
    with urllib.request.urlopen(answer.data[0].url) as fetched:
        assert fetched.headers["content-type"] == "image/png"
        assert fetched.read() == base64.b64decode(answer.data[0].b64_json)


@pytest.mark.parametrize(("asked", "given"), [("b64_json", "url"), ("url", "b64_json")])
def test_an_image_comes_in_the_one_form_that_is_asked_for(client, asked, given):
    image = client.images.generate(prompt="x", response_format=asked).data[0]
    assert getattr(image, asked)
    assert getattr(image, given) is None


def test_what_is_asked_for_is_what_is_drawn(client, site):
    fields = {
        "negative_prompt": "rain",
        "num_inference_steps": 3,
        "guidance_scale": 5.5,
        "seed": 40,
        "priority": "high",
        "deadline_s": 300,
    }
    answer = client.images.generate(prompt="a blue moon", n=2, size="128x96", extra_body=fields)
    assert [picture(image.b64_json).size for image in answer.data] == [(128, 96)] * 2
    assert [image.seed for image in answer.data] == [40, 41]
    (row,) = site.rows(answer.ladle["job"])
    request = row["request"]
    drawn = {
        name: request[name] for name in ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "n")
    }
    asked = {name: fields[name] for name in ("negative_prompt", "num_inference_steps", "guidance_scale")}
    assert drawn == {"prompt": "a blue moon", "n": 2, **asked}
    assert row["priority"] == 0
    assert row["deadline_at"] is not None


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_an_image_has_the_format_that_is_asked_for_also_behind_its_url(client, kind):
    answer = client.images.generate(prompt="x", size="auto", output_format=kind, output_compression=40)
    assert answer.output_format == kind
    assert picture(answer.data[0].b64_json).format == kind.upper()
    with urllib.request.urlopen(answer.data[0].url) as fetched:
        assert fetched.headers["content-type"] == f"image/{kind}"
        assert fetched.read() == base64.b64decode(answer.data[0].b64_json)


def test_what_means_nothing_is_named_in_a_header(client):
    raw = client.images.with_raw_response.generate(
        prompt="x", model="dall-e-3", quality="hd", style="vivid", user="ann", background="auto", moderation="low"
    )
    warnings = raw.headers["x-ladle-warnings"]
    for name in ("quality", "style", "user", "background", "moderation"):
        assert f"{name} means nothing to Ladle" in warnings
    assert "model dall-e-3 is not served, tiny is" in warnings
    assert raw.parse().ladle["model"] == "tiny"


def test_a_stream_ends_with_each_image(client):
    with client.images.generate(prompt="x", n=2, stream=True, partial_images=2, extra_body={"seed": 5}) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"] * 2
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert [event.seed for event in events[2:]] == [5, 6]
    assert {picture(event.b64_json).size for event in events[2:]} == {(64, 64)}
    assert {"{}x{}".format(*picture(event.b64_json).size) for event in events[:2]} == {events[0].size}


def test_previews_are_drawn_for_who_sees_them_only(client, site):
    drawn = client.images.with_raw_response.generate(prompt="x", extra_body={"partial_images": 2})
    assert "partial_images means nothing without stream" in drawn.headers["x-ladle-warnings"]
    (row,) = site.rows(drawn.parse().ladle["job"])
    assert "partial_images" not in row["request"]


@pytest.mark.parametrize("count", [-1, 4, "x"])
def test_a_count_of_previews_that_cannot_be_is_refused(gateway, count):
    fields = {"prompt": "x", "partial_images": count}
    answer = gateway.ask("/jobs", fields)
    assert (answer.status, answer.error["param"]) == (422, "partial_images")


def test_a_stream_tells_as_comments_what_happens(gateway):
    answer = gateway.ask("/v1/images/generations", {"prompt": "x", "stream": True, "num_inference_steps": 4})
    assert answer.headers["content-type"].startswith("text/event-stream")
    comments = [line for line in answer.body.decode().split("\n\n") if line.startswith(": ")]
    assert comments[0] == ": accepted"
    assert ": step 4/4" in comments


def test_a_stream_that_fails_says_so_as_the_client_expects(client):
    key = {"Idempotency-Key": "order-8"}
    client.images.generate(prompt="x", extra_headers=key)
    with (
        pytest.raises(openai.APIError, match="used before with another request"),
        client.images.generate(prompt="y", stream=True, extra_headers=key) as stream,
    ):
        list(stream)


def test_an_edit_starts_from_the_picture(client, site):
    answer = client.images.edit(image=("a.png", PNG, "image/png"), prompt="x", n=1, extra_body={"strength": 0.5})
    assert picture(answer.data[0].b64_json).size == (64, 64)
    request = site.rows(answer.ladle["job"])[0]["request"]
    assert request["strength"] == 0.5


@pytest.mark.parametrize(
    ("files", "param", "status"),
    [
        ({"image": [("a.png", PNG), ("b.png", PNG)]}, "image", 422),
        ({"image": ("a.png", PNG), "mask": ("m.png", PNG)}, "mask", 501),
    ],
)
def test_an_edit_that_ladle_cannot_draw_is_refused(client, files, param, status):
    with pytest.raises(openai.APIStatusError) as refused:
        client.images.edit(prompt="x", **files)
    assert (refused.value.status_code, refused.value.param) == (status, param)


def test_the_models_are_those_of_the_nodes_the_default_one_first(client):
    assert [model.id for model in client.models.list()] == ["tiny", "other"]
    other = client.models.retrieve("other")
    assert (other.owned_by, other.adapters) == ("ladle", [])
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("/etc")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "size": 64}, "size"),
        ({"prompt": "x", "size": "63x64"}, "size"),
        ({"prompt": "x", "size": "8000x8000"}, "size"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "n": 99}, "n"),
        ({"prompt": "x", "seed": -5}, "seed"),
        ({"prompt": "x", "guidance_scale": "much"}, "guidance_scale"),
        ({"prompt": "x", "priority": "urgent"}, "priority"),
        ({"prompt": "x", "deadline_s": 0}, "deadline_s"),
        ({"prompt": "x", "output_format": "gif"}, "output_format"),
        ({"prompt": "x", "output_compression": 101}, "output_compression"),
        ({"prompt": "x", "response_format": "xml"}, "response_format"),
        ({"prompt": "x", "adapters": ["a", "a"]}, "adapters"),
        ({"prompt": "x", "adapters": [["a"]]}, "adapters"),
        ({"prompt": "x", "adapters": 7}, "adapters"),
        ({"prompt": "x", "adapters": [{"name": 7, "weight": "much"}]}, "adapters"),
        ({"prompt": "x", "adapters": {"a": 11}}, "adapters"),
        ({"prompt": "x", "adapters": dict.fromkeys("abcdefghi", 1)}, "adapters"),
        ({"prompt": "x", "stream": "perhaps"}, "stream"),
        ({"prompt": "x", "image": "/etc/passwd"}, "image"),
        ({"prompt": "x", "no_such": 1}, "no_such"),
        ({}, "prompt"),
    ],
)
def test_a_wrong_field_is_named(gateway, fields, param):
    answer = gateway.ask("/v1/images/generations", fields)
    assert answer.status == 422
    assert (answer.error["type"], answer.error["param"]) == ("invalid_request_error", param)
    assert param in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_only_models_that_nodes_serve_can_be_named(client):
    for name in ("/etc/passwd", "someone/else", "file:///x"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.images.generate(prompt="x", model=name)
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff", b'{"prompt": ' + b"[" * 100_000, b'{"seed": ' + b"9" * 9000 + b"}"]
)
def test_what_is_no_json_object_is_refused(gateway, body):
    answer = gateway.ask("/v1/images/generations", body, method="POST")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


def test_a_surrogate_in_a_field_is_a_refusal_not_a_crash(gateway):
    answer = gateway.ask("/v1/images/generations", b'{"prompt": "x", "size": "\\ud800"}')
    assert answer.status == 422


def test_variations_are_said_to_be_missing(gateway):
    answer = gateway.ask("/v1/images/variations", {})
    assert (answer.status, answer.error["code"]) == (501, "not_implemented")


def test_a_form_that_is_none_is_refused(gateway):
    answer = gateway.ask("/v1/images/edits", b"nonsense", content_type="multipart/form-data; boundary=x")
    assert answer.status in (400, 422)
    assert answer.error["message"]
