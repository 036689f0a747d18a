"""What of a request its model does not heed, as sentences for the client: a picture drawn without it is no failure."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from workers.prompt_words import unknown_words

if TYPE_CHECKING:
    from broker_config.messages import ImageRequest
    from workers.model_source import ModelFacts

TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4")  # components of diffusers' pipelines
T5 = "T5"  # begins the class names of tokenizers that heed `max_sequence_length`
MAX_CUT_CHARACTERS = 200  # of what is cut off, shown


def unheeded(request: ImageRequest, facts: ModelFacts, pipeline: Any, accepted: Collection[str]) -> list[str]:
    """Return a sentence for each part of a request that changes nothing, or less than it could.

    Args:
        request: to be drawn.
        facts: of its model.
        pipeline: of diffusers that draws it.
        accepted: names of the arguments that the pipeline's call takes.
    """
    return [
        *_unknown(request, facts),
        *_cut_off(request, facts, pipeline),
        *_unused_negative_prompt(request, pipeline, accepted),
    ]


def _unknown(request: ImageRequest, facts: ModelFacts) -> Iterator[str]:
    unknown = () if facts.words is None else unknown_words(request.prompt, facts.words)
    if facts.words is not None and unknown:
        known = " ".join(sorted(facts.words))
        yield f"{request.model!r} does not know: {', '.join(unknown)}; it knows {known}"


def _unused_negative_prompt(request: ImageRequest, pipeline: Any, accepted: Collection[str]) -> Iterator[str]:
    """Name a negative prompt without effect: classifier-free guidance, which it is for, begins above 1."""
    if not request.negative_prompt.strip():
        return
    if "negative_prompt" not in accepted or "true_cfg_scale" in accepted:  # the latter is 1 unless it is given
        yield f"negative_prompt: {type(pipeline).__name__} makes no use of it"
    elif request.guidance_scale <= 1:
        yield f"negative_prompt: changes nothing at guidance_scale {request.guidance_scale:g}; it needs one above 1"


def _cut_off(request: ImageRequest, facts: ModelFacts, pipeline: Any) -> Iterator[str]:
    """Name the end of each prompt that a text encoder is not given, once for encoders that stop at the same word."""
    for field in ("prompt", "negative_prompt"):
        cut: dict[tuple[int, int, str], None] = {}
        for name in TOKENIZERS:
            tokenizer = getattr(pipeline, name, None)
            if tokenizer is not None and (found := _end_of(getattr(request, field), tokenizer, facts, pipeline)):
                cut[found] = None
        for limit, tokens, end in cut:
            shown = end if len(end) <= MAX_CUT_CHARACTERS else f"{end[:MAX_CUT_CHARACTERS]}…"
            yield f"{field}: is {tokens} tokens long and a text encoder takes {limit}; it does not see: {shown!r}"


def _end_of(text: str, tokenizer: Any, facts: ModelFacts, pipeline: Any) -> tuple[int, int, str] | None:
    """Return how many tokens a tokenizer takes and how many there are, with what is cut off; None if nothing is."""
    limit = getattr(tokenizer, "model_max_length", None)
    if type(tokenizer).__name__.startswith(T5):
        limit = _max_sequence_length(facts, pipeline) or limit
    if limit is None:
        return None
    tokens = tokenizer(text, truncation=False, verbose=False).input_ids
    if len(tokens) <= limit:
        return None
    kept = tokenizer(text, truncation=True, max_length=limit).input_ids
    special = set(tokenizer.all_special_ids)
    words, kept_words = ([token for token in ids if token not in special] for ids in (tokens, kept))
    return limit, len(tokens), str(tokenizer.decode(words[len(kept_words) :])).strip()


def _max_sequence_length(facts: ModelFacts, pipeline: Any) -> int | None:
    """Return the number of tokens that a pipeline gives its T5 encoder, as diffusers' own default says."""
    parameter = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    return facts.max_sequence_length or (parameter.default if parameter is not None else None)
