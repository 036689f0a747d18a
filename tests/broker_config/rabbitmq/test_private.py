"""Failures of a private broker; that it keeps its messages over a kill is shown in `test_publisher`."""

from __future__ import annotations

import pytest

from broker_config.rabbitmq.private import BrokerStartError, PrivateRabbitMQ


def test_a_server_that_does_not_start_names_its_log(tmp_path):
    broken = tmp_path / "rabbitmq-server"
    broken.write_text("#!/bin/sh\necho no; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(BrokerStartError, match=r"start\.log"):
        PrivateRabbitMQ(tmp_path / "broker", broken).start()
    assert not PrivateRabbitMQ.is_installed(tmp_path / "nothing")
