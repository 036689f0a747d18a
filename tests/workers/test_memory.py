from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from workers.errors import DoesNotFitError
from workers.memory import check_fits, command, free_memory_mib, memory_mib, needed_mib, node_memory_mib
from workers.model_options import PipelineOptions
from workers.model_size import SD3_MEDIUM, ComponentSize

HALF = PipelineOptions(dtype="float16")


def refusal(options: PipelineOptions, memory_mib: float) -> str:
    with pytest.raises(DoesNotFitError) as caught:
        check_fits(SD3_MEDIUM, replace(options, memory_limit_mib=memory_mib))
    return str(caught.value)


def test_the_need_is_the_weights_a_tenth_more_and_a_fixed_part():
    sizes = (
        ComponentSize(name="transformer", parameters=10 * 2**20, shrinkable=8 * 2**20, largest_layer=2**20),
        ComponentSize(name="text_encoder_3", parameters=20 * 2**20, shrinkable=0, largest_layer=2**20),
    )
    assert needed_mib(sizes, HALF) == pytest.approx(20 * 1.1 + 400)
    assert needed_mib(sizes, replace(HALF, drop_t5=False)) == pytest.approx(60 * 1.1 + 400)
    assert needed_mib(sizes, PipelineOptions(device="cpu")) == pytest.approx(40 * 1.1 + 400)
    assert needed_mib(sizes, replace(HALF, layerwise_fp8=True)) == pytest.approx(12 * 1.1 + 400)
    assert needed_mib(sizes, replace(HALF, group_offload=True)) == pytest.approx(4 * 1.1 + 400)


def test_sd3_medium_without_t5_fits_8_gb_and_with_it_the_refusal_names_the_option():
    check_fits(SD3_MEDIUM, replace(HALF, memory_limit_mib=8000))
    message = refusal(replace(HALF, drop_t5=False), 8000)
    assert "needs 16,540 MiB and this node has 8,000 MiB; it would fit with --drop-t5 or --group-offload" in message


def test_options_that_fit_only_together_are_named_together():
    message = refusal(PipelineOptions(drop_t5=False), 2400)
    assert message.endswith("it would fit with --drop-t5 --group-offload or --dtype float16 --group-offload")


def test_a_model_that_no_option_makes_fit_is_said_to_be_too_large():
    assert "choose a smaller model" in refusal(HALF, 500)


def test_the_command_prints_bytes_with_and_without_t5():
    result = CliRunner().invoke(command, [SD3_MEDIUM])
    assert result.exit_code == 0
    rows = {line.split("  ")[0]: line.split() for line in result.output.splitlines()}
    assert rows["all"][-2] == "14,672.8"
    assert rows["without T5"][-2] == "5,589.4"


def test_the_command_counts_a_folder():
    result = CliRunner().invoke(command, ["tiny"])
    assert result.exit_code == 0
    assert "2,890,896" in result.output


def test_the_command_says_which_model_is_missing(tmp_path):
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 1
    assert "has no model_index.json" in result.output


def test_memory_in_all_and_free_are_those_of_the_device_up_to_the_nodes_limit():
    assert 0 < free_memory_mib(PipelineOptions()) <= memory_mib(PipelineOptions()) == node_memory_mib("cpu")
    limited = PipelineOptions(memory_limit_mib=100)
    assert (free_memory_mib(limited), memory_mib(limited)) == (100, 100)


def test_what_a_model_needs_is_told_to_who_asks_whether_it_fits():
    assert 3000 < check_fits(SD3_MEDIUM, replace(HALF, memory_limit_mib=8000)) < 8000
