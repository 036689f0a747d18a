"""A request over an installation's limits, or malformed, is refused in one sentence that names the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_requests import an_image_request
from pydantic import ValidationError

from broker_config.errors import RequestRefusedError
from broker_config.messages import ImageRequest, Submission
from broker_config.refusals import check_limits, is_own_id, own_id, refusal
from broker_config.settings import Settings

REQUEST = an_image_request(prompt="x")  # short, for the limits below
LIMITS = Settings(
    _env_file=None, max_prompt_bytes=8, max_megapixels=0.01, max_image_steps=10, max_images=2, message_limit_mib=1e-5
)


def test_a_request_at_its_limits_is_taken():
    at_limits = {"prompt": "x" * 8, "negative_prompt": "ü" * 4, "width_px": 96, "height_px": 104, "n": 2}
    check_limits(ImageRequest(**{**REQUEST, **at_limits, "num_inference_steps": 10, "image": "AAAA"}), LIMITS)


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("prompt", {"prompt": "ü" * 5}, "10 bytes is over the limit of 8"),
        ("negative_prompt", {"negative_prompt": "x" * 9}, "9 bytes is over the limit of 8"),
        ("size", {"width_px": 104, "height_px": 104}, "0.010816 megapixels is over the limit of 0.01"),
        ("num_inference_steps", {"num_inference_steps": 11}, "11 image steps is over the limit of 10"),
        ("n", {"n": 3}, "3 images is over the limit of 2"),
        ("image", {"image": "A" * 12}, "12 bytes of base64 is over the limit"),
    ],
)
def test_over_a_limit_the_field_the_value_and_the_limit_are_named(field, change, words):
    with pytest.raises(RequestRefusedError, match=words) as refused:
        check_limits(ImageRequest(**{**REQUEST, **change}), LIMITS)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"width_px": 63}, "width_px"),
        ({"surprise": 1}, "surprise"),
        ({"seed": 10**5000}, "seed"),
    ],
)
def test_a_malformed_request_is_refused_by_its_first_fault(change, field):
    with pytest.raises(ValidationError) as error:
        Submission(job="j", client="c", request={**REQUEST, **change})
    refused = refusal(error.value)
    assert refused.field == field
    assert str(refused).startswith(field)


def test_a_rule_about_several_fields_names_the_first_itself():
    with pytest.raises(ValidationError) as error:
        ImageRequest(**REQUEST, strength=0.5)
    assert refusal(error.value).field == "strength"
    assert str(refusal(error.value)) == "strength: goes only with image"


@given(
    st.dictionaries(
        st.sampled_from([*ImageRequest.model_fields, "x"]), st.none() | st.integers() | st.floats() | st.text()
    )
)
def test_whatever_a_request_holds_it_is_accepted_or_refused_in_one_short_sentence(fields):
    try:
        ImageRequest(**{**REQUEST, **fields})
    except ValidationError as error:
        refused = refusal(error)
        assert refused.field
        assert len(str(refused)) < 400


UUID = "01936b1c-9d7e-7c53-8f7e-0d2f4b6a8c10"


@pytest.mark.parametrize(
    ("key", "client", "job"),
    [
        ("order-7", "ann.0f", "ann.order-7"),
        ("ann.order-7", "ann.0f", "ann.order-7"),
        ("bob.order-7", "ann.0f", "ann.bob.order-7"),
        (UUID, "ann.0f", UUID),
        ("order-7", "0f", "order-7"),
    ],
)
def test_a_key_means_a_job_of_the_client_s_own_user(key, client, job):
    assert own_id(key, client) == job


@given(st.text(st.sampled_from("ab.-7"), max_size=6), st.sampled_from(["a", "b", "a-b"]), st.sampled_from(["a", "b"]))
def test_users_never_share_a_key_and_their_ids_are_theirs(key, one, other):
    ids = own_id(key, f"{one}.0f"), own_id(key, f"{other}.1e")
    assert (ids[0] == ids[1]) == (one == other)
    assert is_own_id(ids[0], one)
    assert is_own_id(ids[1], one) == (one == other)
    assert own_id(ids[0], f"{one}.2d") == ids[0]
