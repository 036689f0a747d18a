"""A Celery consumer that survives every message: what it cannot run goes to the dead letters, with the reason.

Celery acknowledges and loses undecodable messages, and crashes on others. This consumer inspects each message before
any of Celery's code trusts it. Leaves out what becomes of a dead letter: that is ``planner.record_dead_letter``.

Used through Celery's setting ``worker_consumer = "broker_config.consumer:GuardedConsumer"``.
Source: https://docs.celeryq.dev/en/stable/internals/protocol.html (version 2)
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Container
from typing import Any, NoReturn

from amqp.exceptions import PreconditionFailed
from celery import Celery, signals
from celery.app.task import Context
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import compression
from kombu.connection import Connection
from kombu.exceptions import ContentDisallowed

from broker_config.broker_errors import HOPELESS, broker_error
from broker_config.calls import RecordDeadLetter
from broker_config.errors import UnroutableError
from broker_config.publisher import Publisher
from broker_config.sqlite.file import BrokerFileUnusable
from broker_config.topology import DEAD

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/json"
BODY_LIMIT_BYTES = 8 * 2**20
CONFIRM_TIMEOUT_S = 10.0
KEPT_BYTES = 64 * 2**10  # how much of a malformed message's body and headers is kept
KEPT_WELL_FORMED_BYTES = 5 * 2**20  # somebody may want to requeue it; as base64 it fits into one message
NUMBER_OR_NONE = (int, float, type(None))
# A wrong type in any of these surfaces after Celery took the message: it then stays unacknowledged for ever.
HEADER_TYPES = {
    **dict.fromkeys(("task", "id", "lang", "shadow", "eta", "expires", "group", "root_id", "parent_id"), str),
    **dict.fromkeys(("argsrepr", "kwargsrepr", "origin"), str),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), int),
    "ignore_result": bool,
}
DEATH_HEADERS = ("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")
EMBED_KEYS = frozenset({"callbacks", "errbacks", "chain", "chord"})


def fault_of(message: Any, known_tasks: Container[str], body_limit_bytes: int = BODY_LIMIT_BYTES) -> str | None:
    """Why a message must not run, or None when it is a well-formed call of a known task.

    The content type and the size are judged before the body is decoded.

    Args:
        message: A ``kombu.Message`` that accepts JSON only.
        known_tasks: Names of the tasks that this process can run.
        body_limit_bytes: Larger bodies are not decoded.
    """
    size = len(message.body or b"")
    if message.content_type != CONTENT_TYPE:
        return f"content type {message.content_type!r} is refused unread: only {CONTENT_TYPE} is accepted"
    if size > body_limit_bytes:
        return f"body of {size} bytes is refused unread: the limit is {body_limit_bytes}"
    return _fault_of_headers(message.headers, known_tasks) or _fault_of_body(message)


def _fault_of_headers(headers: Any, known_tasks: Container[str]) -> str | None:
    if not isinstance(headers, dict):
        return f"headers are a {type(headers).__name__}, not a table"
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str) or not headers[name]:
            return f"header {name!r} is {headers.get(name)!r:.80}, not a name"
    if headers["task"] not in known_tasks:
        return f"task {headers['task']!r:.200} is unknown here"
    limits = headers.get("timelimit")
    if limits is not None and not (
        isinstance(limits, list | tuple) and len(limits) == 2 and all(type(n) in NUMBER_OR_NONE for n in limits)
    ):
        return f"header 'timelimit' is {limits!r:.80}, not two numbers"
    for name, value in headers.items():
        if name in HEADER_TYPES:
            if value is not None and type(value) is not HEADER_TYPES[name]:
                return f"header {name!r} is {value!r:.80}, not {HEADER_TYPES[name].__name__}"
        elif value and name != "timelimit" and hasattr(Context, name):
            # Celery copies headers into the task's context, so this one would play callbacks, chain, get, ...
            return f"header {name!r} is not used by Ladle"
    return None


def _fault_of_body(message: Any) -> str | None:
    try:
        body = message.decode()
    except Exception as exc:  # noqa: BLE001  # whatever a decoder does with hostile bytes, the consumer survives
        return f"body is not JSON: {exc!s:.200}"
    if not isinstance(body, list) or len(body) != 3:
        return "body is not [args, kwargs, embed]"
    args, kwargs, embed = body
    if not isinstance(args, list):
        return f"args are a {type(args).__name__}, not a list"
    if not isinstance(kwargs, dict):
        return f"kwargs are a {type(kwargs).__name__}, not an object"
    if embed is not None and not (isinstance(embed, dict) and embed.keys() <= EMBED_KEYS):
        return f"embed is a {type(embed).__name__} other than {sorted(EMBED_KEYS)}"
    if embed and any(embed.values()):
        return "embed asks for callbacks, chains or chords, which Ladle does not use"
    return None


def death_of(headers: Any) -> str | None:
    """How the broker says a message died, from its ``x-death`` header; None without one.

    Source: https://www.rabbitmq.com/docs/dlx#effects
    """
    deaths = headers.get("x-death") if isinstance(headers, dict) else None
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    reason = headers.get("x-first-death-reason") or deaths[-1].get("reason")
    queue = headers.get("x-first-death-queue") or deaths[-1].get("queue")
    return f"{reason} in queue {queue!r}"


def was_dead_lettered(headers: Any) -> bool:
    """Whether a broker dead-lettered a message: into any exchange, under any key, whatever its queue's owner may use.

    Whoever declares a queue names the exchange and the key of its dead letters, and RabbitMQ checks topic rights when a
    client publishes only. So a dead letter is obeyed nowhere.

    Source: https://www.rabbitmq.com/docs/dlx#effects
    """
    return isinstance(headers, dict) and any(name in headers for name in DEATH_HEADERS)


def has_expired(headers: Any) -> bool:
    """Whether a message was dead-lettered for its age alone; RabbitMQ does that in every queue that dead-letters."""
    return isinstance(headers, dict) and headers.get("x-first-death-reason") == "expired"


def dead_letter(message: Any, *, reason: str, queue: str, kept_bytes: int = KEPT_BYTES) -> RecordDeadLetter:
    """Return the dead letter of a message.

    Args:
        message: A ``kombu.Message``.
        reason: Why it is dead.
        queue: Where it was.
        kept_bytes: How much of its body is kept.
    """
    body = message.body or b""
    raw = body.encode(errors="surrogateescape") if isinstance(body, str) else bytes(body)
    text = _as_json(message.headers)
    headers = json.loads(text) if len(text) <= KEPT_BYTES else {"cut": text[:KEPT_BYTES]}
    info = message.delivery_info or {}
    return RecordDeadLetter(
        reason=reason,
        queue=queue,
        routing_key=str(info.get("routing_key") or ""),
        headers=headers,
        content_type=str(message.content_type),
        content_encoding=str(message.content_encoding or ""),
        body=base64.b64encode(raw[:kept_bytes]).decode(),
        body_bytes=len(raw),
    )


def _as_json(headers: Any) -> str:
    """Return headers as JSON; where they have no form in it (NaN, keys that are no text), what that says."""
    try:
        return json.dumps(headers, default=repr, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        return json.dumps({"cut": f"no JSON: {exc!s:.200}"})


def refuse_compression() -> None:
    """Make kombu refuse compressed bodies: it would inflate them without a limit before the guard can look."""

    def refuse(_body: bytes) -> bytes:
        raise ContentDisallowed("compressed bodies are refused unread")

    for content_type in compression.encoders():
        encoder, _ = compression.get_encoder(content_type)
        compression.register(encoder, refuse, content_type)


def is_stopping() -> bool:
    """Whether this worker was told to stop; Celery keeps the exit code there, and 0 is one."""
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))


class GuardedConsumer(Consumer):
    """Celery's consumer with a guard before it.

    A message with a fault, and any message that came through the dead-letter exchange other than an expired one, is
    published as a call of ``planner.record_dead_letter`` to exchange ``ladle.dead`` under ``dead.<queue>``, and only
    then acknowledged. When that publish fails the message goes back into its queue. Once the worker is told to stop,
    messages that still arrive are left for others. Celery setting ``ladle_body_limit_bytes`` (8 MiB).

    Where remote control is off, nothing else is sent or declared that needs rights beyond Ladle's own queues.
    """

    class Blueprint(Consumer.Blueprint):
        """Celery's steps without its 28 queues for delayed messages: Ladle sends none."""

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def __init__(self, *args: Any, app: Celery, **options: Any) -> None:
        refuse_compression()
        if not app.conf.worker_enable_remote_control:
            options |= dict.fromkeys(("without_gossip", "without_mingle", "without_heartbeat"), True)
            options["task_events"] = False
        super().__init__(*args, app=app, **options)
        # 406 to a running consumer: a job took longer than `consumer_timeout` (rabbitmq.conf), and comes again.
        self.connection_errors = (*self.conninfo.connection_errors, PreconditionFailed)
        signals.worker_shutting_down.connect(self._stop_waiting)

    def start(self) -> None:
        """Consume until the worker stops; a broker that cannot be used ends it with a clear message."""
        try:
            super().start()
        except BrokerFileUnusable as exc:
            logger.critical("%s", exc)
            raise WorkerShutdown(EX_FAILURE) from exc
        except HOPELESS as exc:
            self._give_up(exc)

    def ensure_connected(self, conn: Connection) -> Any:
        """Connect, however long it takes; give up only on a broker that is not to be trusted or refuses this user."""
        try:
            conn.connect()
        except HOPELESS as exc:
            self._give_up(exc)
        except self.connection_errors as exc:
            logger.debug("not at once: %s", exc)
        return super().ensure_connected(conn)

    def _give_up(self, exc: Exception) -> NoReturn:
        logger.critical("%s", broker_error(self.conninfo.as_uri(), exc))
        raise WorkerShutdown(EX_FAILURE) from exc

    def _stop_waiting(self, **_: Any) -> None:
        # Celery would sit out two drain timeouts of 2 s before it notices the signal.
        interrupt = getattr(self.connection.transport, "interrupt", None) if self.connection else None
        if interrupt is not None:
            interrupt()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's handler of one message, behind the guard."""
        run = super().create_task_handler(*args, **kwargs)
        limit_bytes = self.app.conf.get("ladle_body_limit_bytes", BODY_LIMIT_BYTES)

        def guard(message: Any) -> None:
            if is_stopping():
                return  # unacknowledged, so the closing connection gives it back
            came_from_dead = (message.delivery_info or {}).get("exchange") == DEAD.name
            is_record = isinstance(message.headers, dict) and message.headers.get("task") == RecordDeadLetter.TASK
            fault = fault_of(message, self.strategies, limit_bytes)
            if came_from_dead and has_expired(message.headers):
                message.ack_log_error(logger, self.connection_errors)  # its sender wanted it dropped: a late heartbeat
            elif came_from_dead and not is_record:
                kept_bytes = KEPT_BYTES if fault else KEPT_WELL_FORMED_BYTES
                self.bury(message, death_of(message.headers) or fault or "sent to the dead letters", kept_bytes)
            elif not came_from_dead and was_dead_lettered(message.headers):
                reason = death_of(message.headers) or "no queue"
                self.bury(message, f"dead-lettered here ({reason}), where the broker checks no routing key's rights")
            elif fault is None:
                self._run(run, message)
            elif came_from_dead and RecordDeadLetter.TASK not in self.strategies:
                logger.critical("dead letter dropped, %s: consume queue 'dead' with a planner only", fault)
                message.reject_log_error(logger, self.connection_errors)
            else:
                self.bury(message, fault)

        return guard

    def _run(self, run: Callable[[Any], Any], message: Any) -> None:
        try:
            run(message)
        except self.connection_errors:
            raise
        except Exception as exc:
            if message.acknowledged:
                raise
            logger.exception("Celery could not take a message that looked well-formed")
            self.bury(message, f"{type(exc).__name__}: {exc!s:.200}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury what kombu could not unpack."""
        self.bury(message, f"cannot be decoded: {exc!s:.200}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Bury what is no task message."""
        self.bury(message, "is no task message")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury a call of an unknown task."""
        self.bury(message, f"task {exc!s:.200} is unknown here")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury a task message that Celery refuses."""
        self.bury(message, f"{exc!s:.200}")

    def bury(self, message: Any, reason: str, kept_bytes: int = KEPT_BYTES) -> None:
        """Publish a message as a dead letter, then acknowledge it; put it back when that fails."""
        queue = self.queue_of(message)
        logger.error("message in queue %r goes to the dead letters: %s", queue, reason)
        letter = dead_letter(message, reason=reason, queue=queue, kept_bytes=kept_bytes)
        try:
            self._publish(letter)
        except Exception:
            logger.critical("dead letter not stored, the message goes back into queue %r", queue, exc_info=True)
            message.reject_log_error(logger, self.connection_errors, requeue=True)
            return
        message.ack_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def _publish(self, letter: RecordDeadLetter) -> None:
        post = letter.post(mandatory=True)
        publisher = Publisher(self.app, confirm_timeout_s=CONFIRM_TIMEOUT_S)
        try:
            unroutable = publisher.publish([post])
        finally:
            publisher.close()
        if unroutable:
            raise UnroutableError(post.exchange, post.routing_key)

    def queue_of(self, message: Any) -> str:
        """Return the name of the queue that a message came from."""
        info = message.delivery_info or {}
        routing_key = str(info.get("routing_key") or "")
        if info.get("exchange") and self.task_consumer:
            for queue in self.task_consumer.queues:
                if queue.exchange.name == info["exchange"]:
                    return str(queue.name)
        return routing_key
