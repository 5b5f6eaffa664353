"""Conflicts: settings that are each right and wrong together, each with a sentence that says why."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.errors import InvalidJob
from imagefleet.store.redis_url import is_sentinel
from imagefleet_worker.settings.engine import EngineMode, EngineSettings
from imagefleet_worker.settings.group import GroupKind, GroupSettings
from imagefleet_worker.settings.model import ModelSettings
from imagefleet_worker.settings.observability import TracingSettings
from imagefleet_worker.settings.redis import RedisSettings
from imagefleet_worker.settings.speed import Cache, Offload, SpeedSettings, StorageFormat

#: Fewer make no group.
LEAST_RANKS: Final = 2


def conflicts(engine: EngineSettings, speed: SpeedSettings, group: GroupSettings) -> list[str]:
    """What is wrong with *speed* in itself, with *engine* and in *group*; empty where all fits together."""
    of_group = _within_group(group, engine) if group.has_ranks else ()
    return [*_with_mode(engine.mode, speed), *_with_each_other(speed), *_with_group(group, speed), *of_group]


def missing_parts(redis: RedisSettings, tracing: TracingSettings) -> list[str]:
    """What *redis* and *tracing* need besides."""
    found: list[str] = []
    if is_sentinel(redis.url) and not redis.sentinel_master:
        found.append("IMAGEFLEET_REDIS_SENTINEL_MASTER is not set: a sentinel:// URL needs the name of its master")
    if tracing.endpoint and find_spec("opentelemetry") is None:
        found.append("IMAGEFLEET_TRACING_ENDPOINT: OpenTelemetry is not installed; pip install 'imagefleet[otel]'")
    return found


def defaults_above_limits(model: ModelSettings, limits: JobLimits) -> list[str]:
    """What is wrong with the defaults of *model* under *limits*: jobs that leave something open would all fail."""
    size = (model.default_size or "").split("x")
    defaults = {
        "width": int(size[0]) if model.default_size else None,
        "height": int(size[-1]) if model.default_size else None,
        "steps": model.default_steps,
        "guidance_scale": model.default_guidance_scale,
    }
    try:
        GenerationJob.parse({"prompt": "a job with nothing but a prompt", **defaults}, limits=limits)
    except InvalidJob as error:
        change = "change the default or IMAGEFLEET_LIMIT_*"
        return [f"IMAGEFLEET_MODEL_DEFAULT_*: jobs that leave something open would all fail: {error.message}; {change}"]
    return []


def _with_mode(mode: EngineMode, speed: SpeedSettings) -> Iterator[str]:
    off = "set IMAGEFLEET_ENGINE_MODE=off, or leave it out"
    if mode is EngineMode.OFF:
        return
    if speed.cache is Cache.FIRST_BLOCK:
        yield (
            "IMAGEFLEET_SPEED_CACHE=first_block decides by the mean of all rows of a call, so that an image would "
            f"depend on the jobs beside it: {off}"
        )
    if speed.cache is Cache.TAYLORSEER:
        yield (
            "IMAGEFLEET_SPEED_CACHE=taylorseer counts the steps of one job within the model, while joined jobs are at "
            f"different steps: {off}"
        )
    if speed.offload is Offload.MODEL:
        yield (
            "IMAGEFLEET_SPEED_OFFLOAD=model takes the model apart after each job, while other jobs use it: "
            f"{off}, or choose group"
        )
    if speed.quantizes_by_call:
        yield (
            f"IMAGEFLEET_SPEED_QUANTIZATION={speed.quantization} with these options quantizes the rows of a call "
            f"together, so that an image would depend on the jobs beside it: {off}, or choose one for weights only"
        )
    if mode is EngineMode.REPRODUCIBLE and speed.compile:
        yield (
            "IMAGEFLEET_SPEED_COMPILE=true makes code that depends on which sizes came first, so the same job could "
            "give other bytes: set IMAGEFLEET_ENGINE_MODE=merge, or do not compile"
        )


def _with_each_other(speed: SpeedSettings) -> Iterator[str]:
    layerwise = speed.layerwise_casting is not StorageFormat.NONE
    sequential = speed.offload is Offload.SEQUENTIAL
    pairs = (
        (speed.quantization, layerwise, "QUANTIZATION", "LAYERWISE_CASTING", "both say how weights are stored"),
        (speed.quantization, speed.fuse_qkv, "QUANTIZATION", "FUSE_QKV", "quantized weights cannot be put together"),
        (speed.quantization, sequential, "QUANTIZATION", "OFFLOAD=sequential", "quantized weights cannot be split up"),
        (speed.compile, layerwise, "COMPILE", "LAYERWISE_CASTING", "compiled code cannot convert weights as it runs"),
        (speed.compile, sequential, "COMPILE", "OFFLOAD=sequential", "compiled code cannot fetch weights as it runs"),
        (
            speed.compile,
            speed.cache is not Cache.NONE,
            "COMPILE",
            "CACHE",
            "the cache decides at each step what to run, and compiled code cannot",
        ),
        (layerwise, sequential, "LAYERWISE_CASTING", "OFFLOAD=sequential", "both replace the weights at each use"),
    )
    for one, other, name, other_name, why in pairs:
        if one and other:
            yield f"IMAGEFLEET_SPEED_{name} and IMAGEFLEET_SPEED_{other_name} do not go together: {why}; leave one out"
    if speed.cache_options and speed.cache is Cache.NONE:
        yield "IMAGEFLEET_SPEED_CACHE_OPTIONS is set without IMAGEFLEET_SPEED_CACHE: say which cache they are for"
    if speed.quantization_options and not speed.quantization:
        yield (
            "IMAGEFLEET_SPEED_QUANTIZATION_OPTIONS is set without IMAGEFLEET_SPEED_QUANTIZATION: "
            "say which backend they are for"
        )


def _within_group(group: GroupSettings, engine: EngineSettings) -> Iterator[str]:
    """What is wrong with a group of several ranks in itself; their number may be known only later."""
    kind, size = group.kind.value, group.size
    if "mode" in engine.model_fields_set and engine.mode is not EngineMode.OFF:
        yield (
            f"IMAGEFLEET_ENGINE_MODE={engine.mode.value} and IMAGEFLEET_GROUP_KIND={kind} do not go together: the "
            "ranks make one job after the other; set the mode to off, or leave it out"
        )
    if size is None:
        return
    if size < LEAST_RANKS:
        yield f"IMAGEFLEET_GROUP_SIZE={size}: a group of kind {kind} needs at least {LEAST_RANKS} ranks"
    if group.tp_degree not in (None, size):
        yield f"IMAGEFLEET_GROUP_TP_DEGREE is {group.tp_degree}, and IMAGEFLEET_GROUP_SIZE {size}: leave it out"
    ring = group.ring_degree
    ulysses = group.ulysses_degree or max(1, size // ring)
    if ring * ulysses != size:
        yield (
            f"IMAGEFLEET_GROUP_RING_DEGREE {ring} times IMAGEFLEET_GROUP_ULYSSES_DEGREE {ulysses} must be {size}, "
            "which is IMAGEFLEET_GROUP_SIZE"
        )


def _with_group(group: GroupSettings, speed: SpeedSettings) -> Iterator[str]:
    offloads = speed.offload is not Offload.NONE
    if group.kind is GroupKind.BALANCED and offloads:
        yield (
            "IMAGEFLEET_SPEED_OFFLOAD and IMAGEFLEET_GROUP_KIND=balanced do not go together: both say where the parts "
            "of the model are; leave one out"
        )
    if not group.has_ranks:
        return
    pulled = {
        "COMPILE": speed.compile,
        "FUSE_QKV": speed.fuse_qkv,
        "LAYERWISE_CASTING": speed.layerwise_casting is not StorageFormat.NONE,
        "CACHE": speed.cache is not Cache.NONE,
        "QUANTIZATION": bool(speed.quantization),
        "OFFLOAD": offloads,
    }
    for name in (name for name, is_pulled in pulled.items() if is_pulled):
        yield (
            f"IMAGEFLEET_SPEED_{name} and IMAGEFLEET_GROUP_KIND={group.kind.value} do not go together: each rank has "
            "only a part of the model or of the image; leave one out"
        )
