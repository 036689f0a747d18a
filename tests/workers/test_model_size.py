"""Parameters counted from configs alone."""

from __future__ import annotations

import pytest

from workers.model_size import SD3_MEDIUM, component_sizes

GIB = 2**30


def test_sd3_medium_has_the_published_number_of_parameters():
    counted = {component.name: component.parameters for component in component_sizes(SD3_MEDIUM)}
    assert counted == {
        "transformer": 2_028_328_000,
        "text_encoder": 123_650_304,
        "text_encoder_2": 694_659_840,
        "text_encoder_3": 4_762_310_656,
        "vae": 83_819_683,
    }


def test_leaving_t5_out_of_sd3_medium_saves_62_percent():
    sizes = component_sizes(SD3_MEDIUM)
    total = sum(component.parameters for component in sizes)
    without = sum(component.parameters for component in sizes if not component.is_t5)
    assert 2 * total / GIB == pytest.approx(14.33, abs=0.01)
    assert 2 * without / GIB == pytest.approx(5.46, abs=0.01)
    assert 1 - without / total == pytest.approx(0.62, abs=0.005)


def test_eight_bit_storage_leaves_what_modulates_the_norms_alone():
    (transformer,) = (component for component in component_sizes("tiny") if component.name == "transformer")
    assert 0 < transformer.shrinkable < transformer.parameters
    assert transformer.largest_layer < transformer.parameters
