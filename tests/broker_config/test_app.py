from __future__ import annotations

from broker_config.app import make_app, transport_options
from broker_config.settings import Settings
from broker_config.topology import node_queue


def test_an_app_takes_json_only_and_acknowledges_late(tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path / "made")
    app = make_app("test", settings, queues=[node_queue("a")], include=[], prefetch=7)
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 7
    assert app.conf.broker_connection_max_retries is None
    assert (tmp_path / "made").is_dir()


def test_celerys_own_messages_wait_for_no_confirm_and_no_write_hangs(tmp_path):
    settings = Settings(_env_file=None, broker_url="amqp://h", confirm_timeout_s=3)
    assert transport_options(settings)["write_timeout"] == 3
