"""A publisher without a broker, for tests: it keeps what it is given, and fails when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker_config.errors import BrokerUnavailableError
from broker_config.publisher import Post


class MemoryPublisher:
    """A `Sender` that keeps every post in `sent`.

    Args:
        has_queue: whether a queue takes a routing key; a mandatory post for which none does is unroutable.

    Attributes:
        sent: posts that a queue took, oldest first.
        failures: how many of the next calls of `publish` fail as if the broker were down.
        loses_confirms: a failing call sends its posts nevertheless, as when only the confirms are lost.
    """

    def __init__(self, has_queue: Callable[[str], bool] = lambda routing_key: True) -> None:
        self.sent: list[Post] = []
        self.failures = 0
        self.loses_confirms = False
        self._has_queue = has_queue

    def publish(self, posts: Sequence[Post]) -> list[Post]:
        """Keep `posts` and return the unroutable ones.

        Raises:
            BrokerUnavailableError: as often as `failures` says.
        """
        fails = self.failures > 0
        self.failures -= fails
        unroutable = [post for post in posts if post.mandatory and not self._has_queue(post.routing_key)]
        if not fails or self.loses_confirms:
            self.sent += [post for post in posts if self._has_queue(post.routing_key)]
        if fails:
            raise BrokerUnavailableError("memory://", "told to fail")
        return unroutable

    def close(self) -> None:
        """Do nothing: there is no connection."""
