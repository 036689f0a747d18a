"""Settings: where they come from, and what a bad one says."""

from __future__ import annotations

import math
import ssl
from pathlib import Path

import pytest

from broker_config.errors import ConfigurationError
from broker_config.settings import Settings, environment, load_settings, load_settings_or_exit
from broker_config.tls import tls_options


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no .env
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_without_any_setting_everything_is_embedded(monkeypatch, tmp_path):
    monkeypatch.delenv("LADLE_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings()
    assert settings.is_embedded
    assert settings.broker == f"sqlite:///{tmp_path}/ladle/broker.db"
    assert settings.database == f"sqlite:///{tmp_path}/ladle/ledger.db"
    assert settings.store == f"file://{tmp_path}/ladle/images"


def test_two_settings_lead_to_rabbitmq_and_postgresql(monkeypatch):
    monkeypatch.setenv("LADLE_BROKER_URL", "amqp://u:p@h/v")
    monkeypatch.setenv("LADLE_DATABASE_URL", "postgresql://u:p@h/d")
    settings = load_settings()
    assert not settings.is_embedded
    assert settings.broker == "amqp://u:p@h/v"
    assert settings.database == "postgresql+psycopg://u:p@h/d"


def test_a_misspelled_setting_is_named_once_with_the_one_it_is_most_like(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("LADLE_WINDWO", "s3cret")
    monkeypatch.setenv("LADLE_TEST_BROKER_URL", "of the tests")
    (tmp_path / ".env").write_text("LADLE_STORE=file:///x\nLADLE_POSTGRES_PASSWORD=of-compose\nLADLE_AGEING=1\n")
    load_settings()
    load_settings()
    assert caplog.messages == [
        "LADLE_STORE is no setting and changes nothing: did you mean LADLE_STORE_URL?",
        "LADLE_WINDWO is no setting and changes nothing: did you mean LADLE_WINDOW?",
    ]


def test_a_file_of_settings_is_read(tmp_path):
    (tmp_path / ".env").write_text("LADLE_WINDOW=7\n")
    assert load_settings().window == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WINDOW", "0"),
        ("WINDOW", "many"),
        ("PLACER", "best"),
        ("PLACER", "shared-queue"),
        ("MAX_ATTEMPTS", "0"),
        ("HEARTBEAT_S", "-1"),
        ("BROKER_URL", "redis://localhost"),
        ("BROKER_URL", "localhost"),
        ("BROKER_URL", "amqp://h:port/"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("ENGINE", "magic"),
        ("DTYPE", "float8"),
        ("MESSAGE_LIMIT_MIB", "100"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(f"LADLE_{name}", value)
    with pytest.raises(ConfigurationError, match=f"LADLE_{name}"):
        load_settings()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@host",
        "user:s3cret@host",
        "amqp://user:s3cret/@host:5672/v",
        "amqp://user:a@s3cret@host:x",
        "amqp://:s3cret@host:x",
    ],
)
def test_no_error_shows_a_password(monkeypatch, url):
    monkeypatch.setenv("LADLE_BROKER_URL", url)
    monkeypatch.setenv("LADLE_DATABASE_URL", url.replace("amqp", "mysql"))
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert "LADLE_BROKER_URL" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_program_that_cannot_read_them_ends_with_the_sentence(monkeypatch):
    monkeypatch.setenv("LADLE_WINDOW", "0")
    with pytest.raises(SystemExit, match="ladle planner: LADLE_WINDOW"):
        load_settings_or_exit("ladle planner")


def test_a_child_process_reads_equal_settings(monkeypatch):
    settings = Settings(
        _env_file=None,
        data_dir=Path("/somewhere else"),
        window=math.inf,
        only_these_models=True,
        models="a, b",
        broker_url="amqp://u:p%40@h/v",
        emulated_drift="60:5,120:1",
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
    assert load_settings().node_models == ("a", "b")


def test_changes_are_checked_too():
    settings = Settings(_env_file=None)
    assert settings.with_changes(window=5).window == 5
    assert settings.window == 2
    with pytest.raises(ConfigurationError, match="LADLE_WINDOW"):
        settings.with_changes(window=0)


def test_every_setting_says_what_it_is():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_tls_file_must_be_there_and_be_used(tmp_path):
    (tmp_path / "ca.pem").touch()
    settings = Settings(_env_file=None, broker_url="amqps://h", tls_ca_file=str(tmp_path / "ca.pem"))
    assert tls_options(settings)["server_hostname"] == "h"
    with pytest.raises(ConfigurationError, match=r"LADLE_TLS_CA_FILE.*no file"):
        settings.with_changes(tls_ca_file="/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=r"LADLE_TLS_CA_FILE.*nothing is encrypted"):
        settings.with_changes(broker_url="amqp://h")


def test_only_an_amqps_url_means_tls_and_then_certificate_and_host_are_checked():
    assert tls_options(Settings(_env_file=None, broker_url="amqp://h")) is None
    assert tls_options(Settings(_env_file=None)) is None
    options = tls_options(Settings(_env_file=None, broker_url="amqps://u:p@broker.example:5671/v"))
    assert options["server_hostname"] == "broker.example"
    assert options["cert_reqs"] is ssl.CERT_REQUIRED
