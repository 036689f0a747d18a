"""Every setting of Ladle, read from `LADLE_*` environment variables (and `.env`) once, then frozen."""

from __future__ import annotations

import difflib
import logging
import os
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from dotenv import dotenv_values
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker_config.bounds import (
    MAX_IMAGES,
    MAX_INTERVAL_S,
    MAX_MEGAPIXELS,
    MAX_MODELS,
    MAX_PART_S,
    MAX_PROMPT_CHARACTERS,
    MAX_WHOLE,
    model_name,
)
from broker_config.errors import ConfigurationError, without_password
from broker_config.hours import parse_hours
from broker_config.sqlite.transport import SCHEME

logger = logging.getLogger(__name__)

PREFIX = "LADLE_"
ENV_FILE = ".env"
OF_COMPOSE = frozenset({"LADLE_RABBITMQ_PASSWORD", "LADLE_POSTGRES_PASSWORD"})  # read by compose.yaml, in the same .env
OF_TESTS = "LADLE_TEST_"
TLS_SCHEME = "amqps"
BROKER_SCHEMES = ("amqp", TLS_SCHEME, "pyamqp", SCHEME)
DATABASE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")
PLACERS = (
    "random",
    "round-robin",
    "weighted-round-robin",
    "local-only",
    "least-backlog",
    "two-choices",
    "earliest-completion",
    "priced-completion",
    "joint-completion",
    "patient-completion",
    "lad-ts",
)
PLACER_GROUP = "ladle.placers"  # of the entry points by which other packages name theirs
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def placer_names() -> tuple[str, ...]:
    """Return the names that `LADLE_PLACER` takes: Ladle's own, then those of other installed packages."""
    return (*PLACERS, *sorted({entry.name for entry in entry_points(group=PLACER_GROUP)} - {*PLACERS}))


def _default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "ladle"


def _known_scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if url and url.split("://", 1)[0] not in schemes:
            raise ValueError(
                f"{without_password(url)!r} must start with one of {', '.join(s + '://' for s in schemes)}"
            )
        try:
            urlsplit(url).port  # noqa: B018  # reading it is the check
        except ValueError:  # whose text may show a part of the password
            raise ValueError(
                f"{without_password(url)!r} has no readable port: in a password write %2F for / and %40 for @"
            ) from None
        return url

    return AfterValidator(check)


class Settings(BaseSettings):
    """The settings, each with its variable `LADLE_<NAME>`, default and unit.

    Nothing set means the embedded default: a SQLite broker and a SQLite ledger in `data_dir`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    data_dir: Annotated[Path, Field(description="where the embedded broker, ledger and images lie")] = Field(
        default_factory=_default_data_dir
    )
    broker_url: Annotated[
        str, _known_scheme(*BROKER_SCHEMES), Field(description="amqp://user:password@host:5672/vhost; empty: embedded")
    ] = ""
    tls_ca_file: Annotated[
        str, Field(description="authority that signed the certificate of an amqps:// broker; empty: the system's")
    ] = ""
    tls_cert_file: Annotated[str, Field(description="certificate to show the broker, if it asks for one")] = ""
    tls_key_file: Annotated[str, Field(description="private key of LADLE_TLS_CERT_FILE, if it is not in there")] = ""
    management_url: Annotated[
        str,
        _known_scheme("http", "https"),
        Field(description="RabbitMQ's management API, for `ladle node` and `ladle user`; empty: of the broker's host"),
    ] = ""
    database_url: Annotated[
        str, _known_scheme(*DATABASE_SCHEMES), Field(description="postgresql://user:password@host/name; empty: SQLite")
    ] = ""
    store_url: Annotated[str, Field(description="fsspec URL of the image store; empty: data_dir/images")] = ""

    placer: Annotated[
        str, Field(description=f"what places: {', '.join(PLACERS)}; or your own, package.module:Class")
    ] = "lad-ts"
    policy: Annotated[str, Field(description="folder of the policy that lad-ts serves; empty: the shipped one")] = ""
    window: Annotated[float, Ge(1), Field(description="unfinished attempts a node may hold; inf: place on arrival")] = 2
    ageing: Annotated[
        float, Ge(0), Field(description="seconds of work that one second of waiting makes up for; inf: first come")
    ] = 2.0
    joint_ageing: Annotated[
        float,
        Gt(0),
        Le(1000),
        Field(
            description="lad-ts, joint-completion, patient-completion: seconds of service that one second of waiting "
            "makes up for, at least"
        ),
    ] = 0.15
    handover_s: Annotated[
        float,
        Ge(0),
        Field(
            description="lad-ts, patient-completion: seconds that a node's next job needs to get there; a busy node is "
            "given one so long before it is nearly free; inf: as soon as the window has room"
        ),
    ] = 0.25
    fairness: Annotated[
        float, Ge(0), Field(description="seconds of work by which one client may get ahead of others; inf: no fairness")
    ] = 10.0
    high_priority: Annotated[
        str, Field(description="client users and sites that may submit with priority high, comma-separated")
    ] = ""
    gateways: Annotated[
        str,
        Field(description="client users that are HTTP gateways: each of their API keys has a fair share of its own"),
    ] = "http"
    max_attempts: Annotated[int, Ge(1), Le(100), Field(description="attempts of a job before it is FAILED")] = 3
    missing_wait_s: Annotated[
        float,
        Ge(0),
        Field(
            description="how long a job waits for what no ready node has (an adapter, a model); inf: to its deadline"
        ),
    ] = 3600.0
    lookahead: Annotated[int, Ge(1), Field(description="WAITING jobs put to the placer beyond the free places")] = 32

    exploration: Annotated[
        float, Ge(0), Le(1), Field(description="share of lad-ts's decisions drawn by probability, to learn from")
    ] = 0.01
    experience_kept: Annotated[
        int, Ge(0), Field(description="newest decisions kept in the experience log; 0: log none")
    ] = 100_000
    retrain_every_s: Annotated[float, Gt(0), Field(description="how often the Celery beat begins a retraining")] = 600.0
    retrain_seconds: Annotated[
        float, Gt(0), Field(description="longest time of one round of retraining, reading and judging included")
    ] = 240.0
    retrain_min_outcomes: Annotated[
        int, Ge(1), Field(description="finished jobs since the last round of retraining without which none begins")
    ] = 100
    retrain_share: Annotated[
        float, Gt(0), Le(1), Field(description="of one processor core that retraining may use over an hour")
    ] = 0.1

    heartbeat_s: Annotated[
        float, Gt(0), Le(MAX_INTERVAL_S), Field(description="seconds between two reports of a node")
    ] = 2.0
    node_timeout_s: Annotated[float, Gt(0), Field(description="silence after which a node is GONE")] = 15.0
    confirm_timeout_s: Annotated[float, Gt(0), Field(description="how long a publish waits for the broker")] = 10.0
    attempt_limit_s: Annotated[
        float, Gt(0), Le(MAX_PART_S), Field(description="longest time one attempt may generate")
    ] = 1200.0
    grace_s: Annotated[float, Gt(0), Field(description="time in which a stopping worker or planner ends")] = 30.0
    delivery_limit: Annotated[int, Ge(0), Field(description="redeliveries of one attempt before it is given up")] = 3

    default_model: Annotated[str, Field(description="model of a request that names none")] = "tiny"
    max_prompt_bytes: Annotated[
        int, Ge(1), Le(MAX_PROMPT_CHARACTERS), Field(description="longest prompt, in UTF-8 bytes")
    ] = 4096
    max_megapixels: Annotated[float, Gt(0), Le(MAX_MEGAPIXELS), Field(description="largest image")] = 4.2
    max_image_steps: Annotated[int, Ge(1), Le(MAX_WHOLE), Field(description="most image steps")] = 500
    max_images: Annotated[int, Ge(1), Le(MAX_IMAGES), Field(description="most images of one request")] = 16
    max_waiting: Annotated[int, Ge(1), Field(description="WAITING jobs above which submits are refused")] = 100_000
    max_waiting_per_client: Annotated[
        int, Ge(0), Field(description="WAITING jobs of one client above which its submits are refused; 0: no limit")
    ] = 20_000
    message_limit_mib: Annotated[float, Gt(0), Le(4), Field(description="images up to this size travel by message")] = (
        1.0
    )

    http_host: Annotated[str, Field(description="address on which `ladle serve` listens")] = "127.0.0.1"
    http_port: Annotated[int, Ge(1), Le(65535), Field(description="its port")] = 8420
    http_keys: Annotated[
        Literal["auto", "always", "never"],
        Field(description="who needs an API key; auto: everybody, or on loopback nobody until there is a key"),
    ] = "auto"
    http_keys_file: Annotated[
        str, Field(description="hashed API keys of `ladle key`; empty: data_dir/http-keys.json")
    ] = ""
    http_defaults_file: Annotated[
        str, Field(description="JSON file of what HTTP requests leave unsaid, by model (docs/http.md); empty: none")
    ] = ""
    http_timeout_s: Annotated[float, Gt(0), Field(description="longest time an HTTP request waits for its images")] = (
        600.0
    )
    http_cancel_after_s: Annotated[
        float, Ge(0), Field(description="how long a job goes on after its HTTP client has gone; inf: to its end")
    ] = 10.0
    http_max_requests: Annotated[
        int, Ge(1), Field(description="HTTP requests that may wait in one process; further ones are refused")
    ] = 4000
    http_webhooks_file: Annotated[
        str, Field(description="webhooks that are still owed; empty: data_dir/http-webhooks.db")
    ] = ""
    http_webhooks_private: Annotated[
        bool, Field(description="let webhooks go to private, loopback and link-local addresses, too")
    ] = False
    http_origins: Annotated[
        str, Field(description="origins of web pages that may ask, comma-separated; empty: none (no CORS)")
    ] = ""

    traces: Annotated[bool, Field(description="record OpenTelemetry traces, exported as OTEL_* say (extra otel)")] = (
        False
    )
    log_format: Annotated[Literal["text", "json"], Field(description="of log lines; json: one object a line")] = "text"
    task_events: Annotated[
        bool, Field(description="send Celery's task events, for Flower and its like, where users may do all")
    ] = False
    metrics_host: Annotated[str, Field(description="address on which planner and worker serve Prometheus metrics")] = (
        "127.0.0.1"
    )
    metrics_port: Annotated[
        int, Ge(0), Le(65535), Field(description="port of their metrics, one for each process of a machine; 0: none")
    ] = 0

    engine: Annotated[
        Literal["diffusers", "emulated"],
        Field(description="what makes the images; emulated waits and paints"),
    ] = "diffusers"
    models: Annotated[
        str, Field(description="models a node loads at start, comma-separated; more load when asked for")
    ] = "tiny"
    only_these_models: Annotated[bool, Field(description="serve no model but those of LADLE_MODELS")] = False
    resident_models: Annotated[int, Ge(1), Le(MAX_MODELS), Field(description="models a node keeps in memory")] = 1
    hours: Annotated[
        str, Field(description="when a node begins jobs, by its own clock: 22:00-08:00, ...; empty: always")
    ] = ""
    idle_unload_s: Annotated[
        float, Ge(0), Field(description="seconds without a job after which a node frees its models' memory; 0: never")
    ] = 0
    provenance: Annotated[
        bool, Field(description="write prompt, seed, model and settings into each image, as A1111 does")
    ] = True
    device: Annotated[str, Field(description="torch device of a node: cpu, cuda:0, mps")] = "cpu"
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        Field(description="torch dtype of the weights; auto: what the device does best"),
    ] = "auto"
    drop_t5: Annotated[bool, Field(description="load SD3 models without their T5 text encoder")] = True
    adapters_folder: Annotated[str, Field(description="folder of LoRA adapters, one safetensors file each")] = ""
    layerwise_fp8: Annotated[bool, Field(description="keep the transformer's weights in 8-bit floats")] = False
    group_offload: Annotated[bool, Field(description="keep weights in main memory, move groups to the device")] = False
    int8_weights: Annotated[bool, Field(description="quantise the transformer's weights to 8-bit integers")] = False
    vae_tiling: Annotated[bool, Field(description="decode images tile by tile")] = False
    memory_limit_mib: Annotated[float, Ge(0), Field(description="memory a node may use; 0: all of the device's")] = 0

    emulated_slowdown: Annotated[
        float, Ge(1), Field(description="emulated: each image step takes this many times longer")
    ] = 1
    emulated_s_per_unit: Annotated[float, Ge(0), Field(description="emulated engine: seconds per megapixel step")] = 1
    emulated_load_s: Annotated[float, Ge(0), Field(description="emulated engine: seconds to load a model")] = 0
    emulated_drift: Annotated[
        str, Field(description="emulated engine: SECONDS:FACTOR, ... after the start its speed changes by")
    ] = ""
    time_scale: Annotated[float, Gt(0), Field(description="emulated engine: its seconds are multiplied by this")] = 1

    @field_validator("tls_ca_file", "tls_cert_file", "tls_key_file")
    @classmethod
    def _is_readable_and_used(cls, name: str, info: ValidationInfo) -> str:
        if name and not os.access(name, os.R_OK):
            raise ValueError(f"{name!r} is no file that can be read here")
        if name and not info.data.get("broker_url", "").startswith(f"{TLS_SCHEME}://"):
            raise ValueError(
                f"is set, but LADLE_BROKER_URL does not begin with {TLS_SCHEME}://, so nothing is encrypted"
            )
        return name

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, hours: str) -> str:
        parse_hours(hours)
        return hours

    @field_validator("placer")
    @classmethod
    def _placer_exists(cls, placer: str) -> str:
        if placer == "shared-queue":
            raise ValueError("'shared-queue' is a rival without a planner: run `ladle bench --placer shared-queue`")
        if placer not in placer_names() and not _CLASS.fullmatch(placer):
            raise ValueError(f"{placer!r} is none of {', '.join(placer_names())}, and no package.module:Class")
        return placer

    @property
    def broker(self) -> str:
        """Return the broker's URL, the embedded one when none is set."""
        return self.broker_url or f"{SCHEME}:///{self.data_dir.absolute()}/broker.db"

    @property
    def database(self) -> str:
        """Return the ledger's SQLAlchemy URL, the embedded one when none is set."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir.absolute()}/ledger.db"
        scheme, rest = self.database_url.split("://", 1)
        return f"postgresql+psycopg://{rest}" if scheme == "postgresql" else self.database_url

    @property
    def store(self) -> str:
        """Return the fsspec URL of the image store, without a slash at its end."""
        return (self.store_url or f"file://{self.data_dir.absolute()}/images").rstrip("/")

    @property
    def node_models(self) -> tuple[str, ...]:
        """Return the models a node loads at start."""
        return tuple(map(model_name, _listed(self.models)))

    @property
    def high_priority_owners(self) -> frozenset[str]:
        """Return the names of the client users and sites that may submit with priority high."""
        return frozenset(_listed(self.high_priority))

    @property
    def gateway_users(self) -> frozenset[str]:
        """Return the names of the client users that are gateways."""
        return frozenset(_listed(self.gateways))

    @property
    def http_origin_list(self) -> list[str]:
        """Return the origins of the web pages that may ask."""
        return _listed(self.http_origins)

    @property
    def is_embedded(self) -> bool:
        """True when the broker is the SQLite file."""
        return self.broker.startswith(SCHEME)

    def with_changes(self, **changes: Any) -> Self:
        """Return a copy with `changes`, checked like the originals.

        Raises:
            ConfigurationError: a value is bad; the message names its variable.
        """
        try:
            return type(self)(**{**self.model_dump(), **changes})
        except ValidationError as exc:
            raise _named(exc) from None


def _listed(text: str) -> list[str]:
    """Return what a comma-separated setting lists."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _named(exc: ValidationError) -> ConfigurationError:
    """Return pydantic's complaints under the names of the variables; they show no value, so no password either."""
    problems = [f"LADLE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in exc.errors()]
    return ConfigurationError("; ".join(problems))


def environment(settings: Settings) -> dict[str, str]:
    """Return the `LADLE_*` variables that make a child process read equal settings."""
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump().items()}


def unknown_variables() -> dict[str, str]:
    """Return the `LADLE_*` variables that are no setting, each with the setting most like it."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    given = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
    unknown = {name for name in given - OF_COMPOSE - {*known} if name.startswith(PREFIX)}
    return {
        name: difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        for name in sorted(unknown)
        if not name.startswith(OF_TESTS)
    }


@cache
def load_settings() -> Settings:
    """Read the settings of this process; an unknown `LADLE_*` variable is named in the log.

    Raises:
        ConfigurationError: a value is bad; the message names its variable and never shows a password.
    """
    for name, closest in unknown_variables().items():
        logger.warning("%s is no setting and changes nothing: did you mean %s?", name, closest)
    try:
        return Settings()
    except ValidationError as exc:
        raise _named(exc) from None


def load_settings_or_exit(program: str) -> Settings:
    """Read the settings for a process that Celery starts; a bad one ends it with a sentence instead of a traceback."""
    try:
        return load_settings()
    except ConfigurationError as exc:
        raise SystemExit(f"{program}: {exc}") from None
