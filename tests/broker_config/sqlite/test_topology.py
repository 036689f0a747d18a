from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_config.sqlite.topology import Exchange, topic_matches

word = st.sampled_from(["a", "b", "node", ""])
keys = st.lists(word, min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        # The examples of AMQP 0-9-1, 3.1.3.3.
        ("*.stock.#", "usd.stock", True),
        ("*.stock.#", "eur.stock.db", True),
        ("*.stock.#", "stock.nasdaq", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("node.a", "node.a", True),
        ("node.a", "node.ab", False),
        ("node.+", "node.+", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.x.y", False),
    ],
)
def test_topic_patterns(pattern, key, fits):
    assert topic_matches(tuple(pattern.split(".")), tuple(key.split("."))) is fits
    exchange = Exchange(type="topic")
    exchange.bind(pattern, "q")
    assert exchange.route(key) == ({"q"} if fits else set())


@given(keys)
def test_a_key_fits_itself_the_hash_and_as_many_stars_as_it_has_words(key):
    words = tuple(key)
    assert topic_matches(words, words)
    assert topic_matches(("#",), words)
    assert topic_matches(("*",) * len(words), words)
    assert not topic_matches(("*",) * (len(words) + 1), words)
    assert topic_matches(("#", *words, "#"), words)


@given(keys, keys)
def test_without_wildcards_only_equal_keys_fit(pattern, key):
    assert topic_matches(tuple(pattern), tuple(key)) is (pattern == key)


def test_a_direct_exchange_takes_wildcards_literally():
    exchange = Exchange(type="direct")
    exchange.bind("#", "q")
    assert exchange.route("a") == set()
    assert exchange.route("#") == {"q"}


def test_a_queue_bound_twice_gets_a_message_once():
    exchange = Exchange(type="topic")
    exchange.bind("a.#", "q")
    exchange.bind("#.b", "q")
    exchange.bind("a.b", "q")
    assert exchange.route("a.b") == {"q"}
