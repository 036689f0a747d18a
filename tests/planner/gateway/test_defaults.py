"""What requests leave unsaid."""

from __future__ import annotations

import json

import pytest

from broker_config.errors import ConfigurationError
from planner.gateway.defaults import read_defaults


@pytest.fixture
def read(settings, tmp_path):
    def of(text):
        (tmp_path / "defaults.json").write_text(text)
        return read_defaults(settings.with_changes(http_defaults_file=str(tmp_path / "defaults.json")))

    return of


def test_without_a_file_there_are_none(settings):
    assert read_defaults(settings) == {}


def test_each_model_has_its_own(read):
    given = {"big": {"size": "1024x1024", "num_inference_steps": 28, "guidance_scale": 7.0}, "tiny": {}}
    assert read(json.dumps(given)) == given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ("[]", "items"),
        ('{"big": 7}', "keys"),
        ('{"big": {"prompt": "x"}}', "prompt is none of"),
        ('{"big": {"size": "large"}}', "size: 'large'"),
        ('{"big": {"num_inference_steps": 10000}}', "over the limit"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(read, text, said):
    with pytest.raises(ConfigurationError, match="LADLE_HTTP_DEFAULTS_FILE") as refused:
        read(text)
    assert said in str(refused.value)


def test_a_missing_file_is_named(settings):
    with pytest.raises(ConfigurationError, match="no-such-file"):
        read_defaults(settings.with_changes(http_defaults_file="no-such-file"))
