"""A byte-pair tokenizer in CLIP's format, in which each word of the vocabulary is one token."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from workers.tiny_training.vocabulary import MAX_TOKENS, words

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"

Merge = tuple[str, str]


def merge_table() -> tuple[dict[str, int], list[Merge]]:
    """Return the vocabulary (symbol to id) and the merges, most frequent pair first.

    All bytes are in the vocabulary, alone and as the end of a word, so that no prompt ever meets the unknown token:
    CLIP's is the end marker, and a text would end there.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    symbols = [*alphabet, *(letter + WORD_END for letter in alphabet)]
    merges: list[Merge] = []
    texts = [[*word[:-1], word[-1] + WORD_END] for word in words()]
    while counts := Counter(pair for text in texts for pair in pairwise(text)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        symbols.append("".join(best))
        texts = [_merge(text, best) for text in texts]
    symbols += [START, END]
    return {symbol: index for index, symbol in enumerate(symbols)}, merges


def _merge(text: list[str], pair: Merge) -> list[str]:
    merged: list[str] = []
    for symbol in text:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build() -> CLIPTokenizer:
    """Build the tokenizer of both text encoders."""
    from transformers import CLIPTokenizer

    vocabulary, merges = merge_table()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
