"""Which words of a prompt a small model has never seen."""

from __future__ import annotations

from workers.prompt_words import unknown_words


def test_unknown_words_come_in_lower_case_in_order_and_once():
    known = frozenset({"a", "red", "star"})
    assert unknown_words("A shiny RED star, a Zürich star; shiny!", known) == ("shiny", "zürich")


def test_numbers_and_apostrophes_belong_to_words_and_underscores_do_not():
    assert unknown_words("2 dogs' o'clock red_star", frozenset({"red", "star", "dogs"})) == ("2", "o'clock")
