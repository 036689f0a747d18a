"""Messages: unknown fields refused, JSON there and back, sizes and limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_requests import an_image_request
from pydantic import ValidationError

from broker_config import messages
from broker_config.errors import RequestRefusedError
from broker_config.messages import (
    TERMINAL_STATES,
    Abilities,
    AdapterFile,
    Assignment,
    Delays,
    Event,
    Failure,
    ImageRequest,
    JobState,
    Lack,
    Message,
    ModelSpeed,
    ModelTraits,
    NodeReport,
    Outcome,
    StoredImage,
    Submission,
    Timings,
    parse_size,
)

REQUEST = an_image_request()
EXAMPLES = [
    ImageRequest(**REQUEST, adapters={"lora": 0.5}, image="AAAA", strength=0.5),
    Submission(job="j", client="c", request=REQUEST, ingress="site", priority=0, deadline_s=5.0),
    Assignment(job="j", attempt=2, node="a", client="c", request=REQUEST, limit_s=60.0),
    Failure(kind="internal", message="m"),
    Lack(kind="adapter", name="sketch"),
    StoredImage.inline(b"png", 3),
    Timings(load_s=1.5),
    Outcome(job="j", attempt=1, node="a", result="done", images=(StoredImage.inline(b"png", 3),), resident=("tiny",)),
    ModelSpeed(load_s=1, s_per_unit=2),
    AdapterFile(mib=1.5, base_model="sd3"),
    ModelTraits(sizes_px=(64, 96), needs_mib=400.0),
    Abilities(adapters={"lora": {"mib": 1.5}}, loaded_adapters={"tiny": ("lora",)}, options=("drop_t5",)),
    NodeReport(node="a", instance="i", hostname="h", state="ready", interval_s=2, running=("j", 1), models=("m",)),
    Delays(transfer_in_s=0, waiting_s=1, load_s=2, generation_s=3, transfer_out_s=4),
    Event(job="j", kind="placed", state="PLACED", node="a", eta_p50_s=1.0),
]


def test_every_kind_of_message_has_an_example_here():
    kinds = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
    }
    assert {type(example) for example in EXAMPLES} == kinds


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message):
    assert type(message)(**json.loads(json.dumps(message.to_wire()))) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_an_unknown_field_is_refused_and_a_message_cannot_be_changed(message):
    with pytest.raises(ValidationError, match="surprise"):
        type(message)(**message.to_wire(), surprise=1)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, next(iter(type(message).model_fields)), None)


def test_a_picture_is_not_written_into_logs():
    assert "cG5n" not in repr(StoredImage.inline(b"png", 3))
    assert "AAAABBBB" not in repr(ImageRequest(**REQUEST, image="AAAABBBB"))


def test_delays_add_up_to_the_service_delay():
    assert EXAMPLES[13].service_delay_s == 10


def test_exactly_four_states_are_terminal():
    assert {state for state in JobState if state.is_terminal} == TERMINAL_STATES
    assert len(TERMINAL_STATES) == 4


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_sizes_are_read(width, height):
    assert parse_size(f"{width}x{height}") == (width, height)


@given(st.text().filter(lambda text: messages.SIZE.fullmatch(text) is None))
def test_anything_else_is_no_size(text):
    with pytest.raises(RequestRefusedError) as refused:
        parse_size(text)
    assert refused.value.field == "size"
    assert len(str(refused.value)) < 200
