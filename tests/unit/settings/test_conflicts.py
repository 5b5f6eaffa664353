"""Settings that are right each and wrong together are refused at the start, with a sentence."""

import pytest

from imagefleet.errors import SettingsInvalid
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


@pytest.mark.parametrize(
    ("group", "other", "sentence"),
    [
        ({"KIND": "context"}, {"ENGINE_MODE": "merge"}, "do not go together: the ranks make one job after the other"),
        ({"KIND": "tensor"}, {"ENGINE_MODE": "reproducible"}, "do not go together"),
        ({"KIND": "tensor", "SIZE": "1"}, {}, "needs at least 2 ranks"),
        ({"KIND": "tensor", "SIZE": "4", "TP_DEGREE": "2"}, {}, "IMAGEFLEET_GROUP_TP_DEGREE is 2"),
        ({"KIND": "context", "SIZE": "4", "RING_DEGREE": "3"}, {}, "must be 4"),
    ],
)
def test_a_group_that_cannot_be_is_refused_by_its_settings(monkeypatch, group, other, sentence):
    for name, value in group.items():
        monkeypatch.setenv(f"IMAGEFLEET_GROUP_{name}", value)
    for name, value in other.items():
        monkeypatch.setenv(f"IMAGEFLEET_{name}", value)

    with pytest.raises(SettingsInvalid, match=sentence):
        Settings.load()


def test_a_group_in_mode_off_or_without_a_mode_passes(monkeypatch):
    monkeypatch.setenv("IMAGEFLEET_GROUP_KIND", "context")
    assert Settings.load().group.has_ranks
    monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", "off")
    assert Settings.load().group.has_ranks


def test_sentinels_need_the_name_of_their_master(monkeypatch):
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", "sentinel://127.0.0.1:26379/0")

    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_REDIS_SENTINEL_MASTER is not set"):
        Settings.load()
