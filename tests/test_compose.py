"""compose.yaml and the Dockerfile, as far as they can be judged without a container engine."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from broker_config.rabbitmq.definitions import consumer_timeout_ms, definitions_json
from broker_config.settings import OF_COMPOSE, Settings, environment
from broker_config.topology import PLANNER_QUEUES, check_node_name
from planner.cli.main import main
from planner.cli.processes import retrain_command

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULTS = Settings(_env_file=None)
INTERPOLATION = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
SECRET = re.compile(r"password|secret|token", re.IGNORECASE)

each_service = pytest.mark.parametrize("name", SERVICES)


def strings(value: Any) -> list[str]:
    """Return every string in a tree of lists and mappings."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def test_it_follows_the_compose_specification() -> None:
    # The schema is the one that check-jsonschema ships, vendored from compose-spec/compose-spec.
    schema = get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


@each_service
def test_each_service_tells_its_health_and_starts_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@each_service
def test_each_image_is_pinned_to_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z-]+:\d[\w.-]*", SERVICES[name]["image"])


@each_service
def test_each_ladle_variable_is_a_setting(name: str) -> None:
    variables = {key for key in SERVICES[name].get("environment", {}) if key.startswith("LADLE_")}
    assert variables <= {*environment(DEFAULTS), *OF_COMPOSE}


def test_every_setting_of_the_env_file_reaches_each_process_of_ladle() -> None:
    ours = [name for name, service in SERVICES.items() if service["image"].startswith("ladle-")]
    assert len(ours) >= 4
    assert all(SERVICES[name]["env_file"] == [{"path": ".env", "required": False}] for name in ours)
    own = {variable for name in ours for variable in SERVICES[name]["environment"]}
    settable = {"LADLE_PLACER", "LADLE_MODELS", "LADLE_DEFAULT_MODEL", "LADLE_RETRAIN_EVERY_S", "HF_TOKEN"}
    assert own.isdisjoint(settable)


def test_what_it_reads_beside_settings_is_not_called_misspelled() -> None:
    read = {variable for text in strings(COMPOSE) for variable, _, _ in INTERPOLATION.findall(text)}
    assert {name for name in read if name.startswith("LADLE_")} - set(environment(DEFAULTS)) == OF_COMPOSE


def test_a_node_never_sees_the_password_of_the_ledger() -> None:
    nodes = [service for service in SERVICES.values() if service.get("command", [])[:2] == ["ladle", "worker"]]
    assert [node["environment"]["LADLE_POSTGRES_PASSWORD"] for node in nodes] == [""] * len(nodes)


def test_no_secret_stands_in_the_file_and_none_has_a_default() -> None:
    read = [match for text in strings(COMPOSE) for match in INTERPOLATION.finditer(text)]
    assert {match[1] for match in read if match[2] != "?"}.isdisjoint({m[1] for m in read if SECRET.search(m[1])})
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    secrets = [value for variables in environments for key, value in variables.items() if SECRET.search(key) and value]
    secrets += [found[1] for text in strings(COMPOSE) for found in re.finditer(r"://\w+:(.*)@", text)]
    secrets += [user["password"] for user in json.loads(COMPOSE["configs"]["rabbitmq-user"]["content"])["users"]]
    assert len(secrets) >= 4
    assert all(INTERPOLATION.fullmatch(secret) for secret in secrets)


def test_the_example_names_every_variable_that_is_read_and_holds_no_secret() -> None:
    example = (ROOT / ".env.example").read_text()
    read = {variable for text in strings(COMPOSE) for variable, _, _ in INTERPOLATION.findall(text)}
    assert read <= set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    assert dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE)) == {
        "LADLE_RABBITMQ_PASSWORD": "",
        "LADLE_POSTGRES_PASSWORD": "",
    }


def test_a_copied_example_is_ignored_by_git() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_each_node_has_a_name_of_its_own_and_is_pinged_by_it() -> None:
    nodes = {}
    for name, service in SERVICES.items():
        command = service.get("command", [])
        if command[:2] == ["ladle", "worker"]:
            node = command[command.index("--node") + 1]
            nodes[check_node_name(node)] = name
            assert f"--destination {node}@$$HOSTNAME" in service["healthcheck"]["test"][1]
    assert len(nodes) == sum(service.get("command", [])[:2] == ["ladle", "worker"] for service in SERVICES.values())
    assert len(nodes) >= 2


@each_service
def test_each_ladle_command_has_these_options(name: str) -> None:
    command = SERVICES[name].get("command", [])
    if command[:1] == ["ladle"]:
        sub = main.get_command(None, command[1])  # type: ignore[arg-type]
        assert sub is not None
        known = {flag for parameter in sub.params for flag in parameter.opts}
        assert {part for part in command if part.startswith("--")} <= known


@each_service
def test_each_volume_and_file_that_is_mounted_exists(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        assert mount.split(":")[0] in COMPOSE["volumes"]
    for mount in SERVICES[name].get("configs", []):
        config = COMPOSE["configs"][mount["source"]]
        assert "content" in config or (ROOT / config["file"]).is_file()


@each_service
def test_each_service_waits_for_the_health_of_what_it_needs(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert needed in SERVICES
        assert how == {"condition": "service_healthy"}


def test_workers_have_more_time_to_stop_than_their_grace_time() -> None:
    for name, service in SERVICES.items():
        if service.get("command", [])[:2] == ["ladle", "worker"]:
            assert float(service["stop_grace_period"].rstrip("s")) > DEFAULTS.grace_s, name


def test_rabbitmq_loads_what_ladle_broker_writes() -> None:
    committed = (ROOT / COMPOSE["configs"]["rabbitmq-definitions"]["file"]).read_text()
    assert committed == definitions_json(DEFAULTS, "ladle"), (
        "run `ladle broker --vhost ladle --out broker_config/rabbitmq/definitions.json`"
    )
    queues = {queue["name"] for queue in json.loads(committed)["queues"]}
    assert {queue.name for queue in PLANNER_QUEUES} <= queues


def test_rabbitmq_waits_longer_than_the_longest_job() -> None:
    conf = COMPOSE["configs"]["rabbitmq-conf"]["content"]
    assert f"consumer_timeout = {consumer_timeout_ms(DEFAULTS)}\n" in conf
    targets = {mount["source"]: mount["target"] for mount in SERVICES["rabbitmq"]["configs"]}
    folder = re.search(r"^load_definitions = (.*)$", conf, re.MULTILINE)
    assert folder is not None
    assert {Path(targets[name]).parent for name in ("rabbitmq-user", "rabbitmq-definitions")} == {Path(folder[1])}


def test_the_dockerfile_builds_each_target_and_runs_none_as_root() -> None:
    stages: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            stages[shlex.split(line)[-1]] = []
        elif stages:
            stages[list(stages)[-1]].append(line)
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets <= set(stages)
    for target in targets:
        assert [line for line in stages[target] if line.startswith("USER ")] == ["USER ladle"]


def test_the_build_context_holds_every_package_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert lines[lines.index("*") :][0] == "*"
    assert packages <= allowed
    assert not any(name.startswith(".") for name in allowed)


def test_the_trainer_runs_the_command_of_ladle_up() -> None:
    command = retrain_command()
    plain = command[command.index("-A") : command.index("-P")]
    assert SERVICES["trainer"]["command"][: len(plain) + 1] == ["celery", *plain]
    assert "-B" in SERVICES["trainer"]["command"]
