"""The warm-up: small images before the first job, which measure the device and prove what is promised about joining."""

from functools import partial
from typing import TYPE_CHECKING

import structlog
import torch

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.budget import must_calibrate
from imagefleet_worker.batching.calibration import calibrate
from imagefleet_worker.batching.run import RunState
from imagefleet_worker.diffusion.calibration_record import CalibrationRecord, CalibrationRecords, fingerprint_of
from imagefleet_worker.diffusion.first_images import FirstImages
from imagefleet_worker.diffusion.joining_proof import (
    JoiningProof,
    compare,
    pixels_of,
    proof_jobs,
)
from imagefleet_worker.diffusion.row_proof import rows_keep_their_bits
from imagefleet_worker.diffusion.trial_runs import make_images, make_recorded, of_denoiser
from imagefleet_worker.errors import WorkerError
from imagefleet_worker.settings import EngineMode

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine

log = structlog.get_logger(__name__)


class WarmUp:
    """Makes *engine* ready; what *records* know already is not measured again."""

    def __init__(self, engine: "Engine", records: CalibrationRecords | None) -> None:
        self._engine = engine
        self._shared = engine.shared
        self._records = records
        self._first_images = FirstImages(engine)
        self._is_float32 = engine.pipe.dtype == torch.float32

    def run(self) -> None:
        """Make images, measure and prove, in this order. Raises ModelUnavailable if no image can be made."""
        renderer = self._engine.renderer
        renderer.is_checked = False  # images that a safety checker has made black would prove nothing
        try:
            self._find_all()
        finally:
            renderer.is_checked = True

    def _find_all(self) -> None:
        self._first_images.make()
        known = self._load()
        found = known or self._find_out()
        self._apply(found)
        if known is None:
            self._save(found)
        self._capture_graphs()

    def _find_out(self) -> CalibrationRecord:
        joining = keeps = None
        why_image_by_image = "" if self._engine.is_image_by_image else self._first_images.why_image_by_image()
        self._engine.is_image_by_image |= bool(why_image_by_image)
        if self._shared.why_alone and self._engine.settings.mode is not EngineMode.OFF:
            joining = JoiningProof(is_proved=False, reason=self._shared.why_alone)
        elif self._shared.most_jobs > 1 and self._shared.denoiser is not None:
            self._shared.allow_joining()
            if self._engine.settings.mode is EngineMode.REPRODUCIBLE:
                keeps = self._rows_keep_their_bits()
                self._shared.denoiser.policy.is_joined = keeps
            joining = self._prove_joining()
        pixels = decoder_pixels = None
        if must_calibrate(self._engine.settings, device=self._engine.device.type):
            pixels, decoder_pixels = self._measure()
        return CalibrationRecord(
            why_image_by_image=why_image_by_image,
            has_guidance=self._first_images.has_guidance(),
            joining=joining,
            rows_keep_their_bits=keeps,
            max_pixels=pixels,
            decoder_max_pixels=decoder_pixels,
        )

    def _apply(self, record: CalibrationRecord) -> None:
        shared = self._shared
        shared.allow_joining()
        self._engine.calibration = record
        if record.why_image_by_image:
            self._engine.is_image_by_image = True
            log.warning("each call of the pipeline makes one image", reason=record.why_image_by_image)
        if record.max_pixels is not None:
            shared.budget.max_pixels = record.max_pixels
        if record.decoder_max_pixels is not None:
            for decoder in shared.decoders:
                decoder.policy.budget.max_pixels = record.decoder_max_pixels
        if record.rows_keep_their_bits is False and shared.denoiser is not None:
            shared.denoiser.policy.is_joined = False
            log.warning(
                "each job has forwards of its own: on this device the values of a row depend on its place in the batch",
                device=self._engine.device_name,
            )
        if record.joining is None or not record.joining.is_proved:
            shared.serve_one_at_a_time()
        else:
            shared.keep_texts(self._engine.settings.text_cache_mib * 2**20)
        if record.joining is not None and not record.joining.is_proved:
            log.warning("jobs are made one at a time: joining is refused", reason=record.joining.reason)

    def _prove_joining(self) -> JoiningProof:
        engine = self._engine
        jobs = [engine.check(job) for job in proof_jobs(self._first_images.side, engine.traits)]
        alone = [pixels_of(make_images(self._engine, job)) for job in jobs]
        before = engine.stats()
        try:
            joined = [pixels_of(images) for images in engine.render_together(jobs)]
        except WorkerError as error:
            return JoiningProof(is_proved=False, reason=f"joined jobs fail: {error.message}")
        after = engine.stats()
        if after["forwards"] - before["forwards"] == after["calls"] - before["calls"] and not self._has_own_forwards():
            return JoiningProof(is_proved=False, reason="the calls of this model's jobs cannot be joined")
        is_exact = engine.settings.mode is EngineMode.REPRODUCIBLE
        return compare(alone, joined, is_exact=is_exact, is_float32=self._is_float32)

    def _has_own_forwards(self) -> bool:
        """Whether each job has forwards of its own by decision, so that none can be joined."""
        return self._shared.denoiser is not None and not self._shared.denoiser.policy.is_joined

    def _rows_keep_their_bits(self) -> bool:
        """Whether jobs may share padded forwards in mode reproducible, on this device."""
        jobs = proof_jobs(self._first_images.side, self._engine.traits)
        calls = [call for job in jobs for call in of_denoiser(make_recorded(self._engine, job).calls)]
        width, runner = self._engine.settings.reproducible_rows, self._shared.runner
        return self._shared.loop.call(lambda: rows_keep_their_bits(calls, runner, width=width))

    def _measure(self) -> tuple[int | None, int | None]:
        """The pixels of a batch that are worth it at the default size, for the denoiser and for the decoder."""
        engine, shared = self._engine, self._shared
        job = engine.check(GenerationJob(prompt="warm up", steps=1))
        pixels = (job.width or 0) * (job.height or 0)
        found: dict[RunState, int | None] = {}
        for call in make_recorded(self._engine, job).calls:
            if call.method.state in found or call.method.state is RunState.ENCODING:
                continue
            found[call.method.state] = shared.loop.call(
                partial(
                    calibrate,
                    partial(shared.runner.repeat, call),
                    name=call.method.name,
                    most_rows=call.method.policy.budget.max_rows,
                    call_pixels=call.rows * pixels,
                    pixels=pixels,
                    device=engine.device,
                )
            )
        return found.get(RunState.DENOISING), found.get(RunState.DECODING)

    def _capture_graphs(self) -> None:
        graphs, shared = self._shared.runner.graphs, self._shared
        if graphs is None or shared.denoiser is None:
            return
        calls = of_denoiser(make_recorded(self._engine, GenerationJob(prompt="warm up", steps=2)).calls)
        graphs.is_open = True
        if calls:
            call = calls[0]
            shared.loop.call(lambda: graphs.prepare(call.method.function, call.arguments, call.rows))

    def _load(self) -> CalibrationRecord | None:
        return self._records.load(self._fingerprint()) if self._records is not None else None

    def _save(self, record: CalibrationRecord) -> None:
        if self._records is not None:
            self._records.save(self._fingerprint(), record)

    def _fingerprint(self) -> str:
        engine = self._engine
        return fingerprint_of(
            engine.model,
            engine.settings,
            engine.speed,
            revision=engine.revision,
            device=engine.device_name,
            dtype=str(engine.pipe.dtype),
        )
