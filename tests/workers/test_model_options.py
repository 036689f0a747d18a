"""The options a node loads its models with."""

from __future__ import annotations

import pytest

from workers.model_options import PipelineOptions


def test_an_unknown_dtype_is_refused_at_once():
    with pytest.raises(ValueError, match="dtype: 'float8' is none of auto, float32, float16, bfloat16"):
        PipelineOptions(dtype="float8")
