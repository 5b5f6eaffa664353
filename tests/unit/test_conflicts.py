"""Settings that are right each and wrong together are refused at the start, with a sentence."""

import pytest

from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.settings import EngineMode, Settings

_BOTH = ("merge", "reproducible")


@pytest.mark.parametrize(
    ("modes", "speed", "sentence"),
    [
        (_BOTH, {"CACHE": "first_block"}, "an image would depend on the jobs beside it"),
        (_BOTH, {"CACHE": "taylorseer"}, "joined jobs are at different steps"),
        (_BOTH, {"OFFLOAD": "model"}, "takes the model apart after each job"),
        (_BOTH, {"QUANTIZATION": "bitsandbytes_8bit"}, "quantizes the rows of a call together"),
        (
            _BOTH,
            {
                "QUANTIZATION": "torchao",
                "QUANTIZATION_OPTIONS": '{"quant_type": "Float8DynamicActivationFloat8WeightConfig"}',
            },
            "quantizes the rows of a call together",
        ),
        (("reproducible",), {"COMPILE": "true"}, "the same job could give other bytes"),
    ],
)
def test_what_would_break_a_modes_promise_is_refused(monkeypatch, modes, speed, sentence):
    for name, value in speed.items():
        monkeypatch.setenv(f"IMAGEFLEET_SPEED_{name}", value)
    for mode in EngineMode:
        monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", mode)
        if mode in modes:
            with pytest.raises(SettingsInvalid, match=sentence) as refused:
                Settings.load()
            assert all(name in str(refused.value) for name in list(speed)[:1])
        else:
            Settings.load()


@pytest.mark.parametrize(
    ("speed", "sentence"),
    [
        ({"QUANTIZATION": "quanto", "LAYERWISE_CASTING": "float8_e4m3fn"}, "both say how weights are stored"),
        ({"QUANTIZATION": "quanto", "FUSE_QKV": "true"}, "quantized weights cannot be put together"),
        ({"QUANTIZATION": "quanto", "OFFLOAD": "sequential"}, "quantized weights cannot be split up"),
        ({"COMPILE": "true", "LAYERWISE_CASTING": "float8_e5m2"}, "cannot convert weights as it runs"),
        ({"COMPILE": "true", "OFFLOAD": "sequential"}, "cannot fetch weights as it runs"),
        ({"COMPILE": "true", "CACHE": "taylorseer"}, "decides at each step what to run"),
        ({"LAYERWISE_CASTING": "float8_e4m3fn", "OFFLOAD": "sequential"}, "both replace the weights"),
        ({"CACHE_OPTIONS": '{"threshold": 1}'}, "without IMAGEFLEET_SPEED_CACHE"),
        ({"QUANTIZATION_OPTIONS": '{"load_in_4bit": true}'}, "without IMAGEFLEET_SPEED_QUANTIZATION"),
        ({"CACHE": "everything"}, "none', 'taylorseer' or 'first_block"),
    ],
)
def test_levers_that_do_not_go_together_are_refused(monkeypatch, speed, sentence):
    monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", "off")
    for name, value in speed.items():
        monkeypatch.setenv(f"IMAGEFLEET_SPEED_{name}", value)
    with pytest.raises(SettingsInvalid, match=sentence):
        Settings.load()


def test_weights_only_quantization_goes_with_every_mode(monkeypatch):
    monkeypatch.setenv("IMAGEFLEET_SPEED_QUANTIZATION", "torchao")
    monkeypatch.setenv("IMAGEFLEET_SPEED_QUANTIZATION_OPTIONS", '{"quant_type": "Int8WeightOnlyConfig"}')
    for mode in EngineMode:
        monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", mode)
        assert Settings.load().speed.quantization_options == {"quant_type": "Int8WeightOnlyConfig"}


@pytest.mark.parametrize(
    ("kind", "speed", "sentence"),
    [
        ("balanced", {"OFFLOAD": "group"}, "both say where the parts of the model are"),
        ("context", {"COMPILE": "true"}, "each rank has only a part"),
        ("tensor", {"FUSE_QKV": "true"}, "each rank has only a part"),
        ("context", {"LAYERWISE_CASTING": "float8_e4m3fn"}, "each rank has only a part"),
        ("tensor", {"QUANTIZATION": "bitsandbytes_4bit"}, "each rank has only a part"),
        ("context", {"OFFLOAD": "group"}, "each rank has only a part"),
    ],
)
def test_what_does_not_fit_a_device_group_is_refused(monkeypatch, kind, speed, sentence):
    for name, value in speed.items():
        monkeypatch.setenv(f"IMAGEFLEET_SPEED_{name}", value)
    Settings.load()
    monkeypatch.setenv("IMAGEFLEET_GROUP_KIND", kind)
    with pytest.raises(SettingsInvalid, match=sentence):
        Settings.load()
