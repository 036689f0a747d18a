"""What each reader of messages promises, checked for one input: a line with the reader's name, then a message's body.

Whatever the body is, a reader returns, or raises one of the errors that its caller handles. What it accepts can be
written again, means the same when read again, and can be stored. `fuzz_readers` makes inputs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kombu.message import Message as Delivered
from pydantic import ValidationError

from broker_config.bounds import MAX_WHOLE
from broker_config.calls import (
    TO_PLANNER,
    Generate,
    Record,
    RecordDeadLetter,
    Report,
    Submit,
    Tell,
    Withdraw,
    attempt_in,
    jobs_named_in,
)
from broker_config.consumer import CONTENT_TYPE, dead_letter, fault_of
from broker_config.messages import Message, NodeReport, Outcome, Submission
from broker_config.refusals import refusal

EXTREMES = (
    *(None, True, "", [], {}, 0, -1, 1.5, 1e-300, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400),
    *("\x00", "\ud800", "a\nb", "\x1b[2J", "x" * 300, ["x"] * 1001, [[]], [{}], {"": 0}),
)


def check(data: bytes) -> bool:
    """Raise if a promise is broken; return whether the input is worth changing: it names a reader, and is JSON."""
    name, _, body = data.partition(b"\n")
    reader = READERS.get(name.decode(errors="replace"))
    if reader is None:
        return False
    reader(body)
    return _parsed(body) is not None


def mutated(data: bytes, seed: int) -> bytes:
    """Return an input with one value of its body replaced, doubled under another name, or removed."""
    dice = random.Random(seed)
    name, _, body = data.partition(b"\n")
    value = _parsed(body)
    if value is None:
        return data
    places = list(_places(value))
    if places:
        inside, key = dice.choice(places)
        action = dice.randrange(4)
        if action == 0:
            del inside[key]
        elif action == 1 and isinstance(inside, dict):
            inside[dice.choice([*inside, "surprise", "\ud800"])] = inside[key]
        else:
            inside[key] = dice.choice(EXTREMES)
    return name + b"\n" + json.dumps(value).encode()


def _places(value: Any) -> Any:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _call_to_planner(task: str) -> Callable[[bytes], None]:
    def reader(body: bytes) -> None:
        message = Delivered(
            body,
            content_type=CONTENT_TYPE,
            content_encoding="utf-8",
            headers={"task": task, "id": "1"},
            delivery_info={"exchange": TO_PLANNER[task].EXCHANGE.name, "routing_key": "x"},
            accept={CONTENT_TYPE},
        )
        fault = fault_of(message, TO_PLANNER)
        RecordDeadLetter.read(dead_letter(message, reason=fault or "", queue="x").wire()).post()
        if fault is None:
            _read_arguments(task, message.payload[1])

    return reader


def _read_arguments(task: str, arguments: Mapping[str, Any]) -> None:
    kind = TO_PLANNER[task]
    key = kind.key_of(arguments)
    assert key is None or isinstance(key, str)
    try:
        call = kind.read(arguments)
    except (KeyError, ValueError):
        return
    match call:
        case Submit(jobs):
            _read_content(Submission, jobs)
        case Record(outcome):
            _read_content(Outcome, [outcome])
        case Report(report):
            _read_content(NodeReport, [report])
        case RecordDeadLetter():
            attempt_in(call.headers)
            assert 0 <= call.body_bytes <= MAX_WHOLE


def _read_content(kind: type[Message], contents: Sequence[Any]) -> None:
    for raw in contents:
        if not isinstance(raw, dict):
            continue
        try:
            message = kind(**raw)
        except ValidationError as exc:
            refusal(exc)
        else:
            _can_be_kept(message)


def _can_be_kept(message: Message) -> None:
    text = json.dumps(message.to_wire(), allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text
    assert type(message)(**json.loads(text)) == message


def _generate(body: bytes) -> None:
    try:
        call = Generate.read(_parsed(body))
    except (ValidationError, TypeError, KeyError):
        return
    _can_be_kept(call.assignment)
    call.post()


def _tell(body: bytes) -> None:
    try:
        events = Tell.read(_parsed(body))
    except (ValidationError, TypeError, KeyError):
        return
    for event in events:
        _can_be_kept(event)


def _withdraw(body: bytes) -> None:
    try:
        attempts = Withdraw.read(_parsed(body))
    except (TypeError, KeyError, ValueError):
        return
    assert all(isinstance(job, str) and isinstance(number, int) for job, number in attempts)


def _jobs_named(body: bytes) -> None:
    try:
        named = jobs_named_in(_parsed(body))
    except (ValueError, TypeError, AttributeError):
        return
    assert all(isinstance(job, str) for job in named)


def _parsed(body: bytes) -> Any:
    """Return the JSON that a body is; None if it is none, which no consumer hands on."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


READERS: Mapping[str, Callable[[bytes], None]] = {
    **{task: _call_to_planner(task) for task in TO_PLANNER},
    Generate.TASK: _generate,
    "tell": _tell,
    "withdraw": _withdraw,
    "jobs_named": _jobs_named,
}
