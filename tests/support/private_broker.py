"""Which RabbitMQ the tests start: the installed one, or that of LADLE_TEST_RABBITMQ_SERVER, a path to its script."""

from __future__ import annotations

import os
from pathlib import Path

from broker_config.rabbitmq.private import SERVER, PrivateRabbitMQ

TEST_SERVER = Path(os.environ.get("LADLE_TEST_RABBITMQ_SERVER", SERVER))


def a_private_rabbitmq(folder: Path, **options) -> PrivateRabbitMQ:
    """A broker in `folder`, not started."""
    return PrivateRabbitMQ(folder, server=TEST_SERVER, **options)
