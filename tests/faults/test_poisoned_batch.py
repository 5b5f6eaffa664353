"""A job that kills its workers, in a batch with others: real worker processes, each killed by the job itself."""

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.support.pair import JOB, KEYS
from tests.support.fleet.fleet import running_fleet
from tests.support.waiting import wait_until

from imagefleet import JobStatus
from imagefleet.store.dead_letters import DeadLetter

pytestmark = pytest.mark.timeout(300)

_KILLS = "a prompt that kills"


def test_the_jobs_of_killed_workers_run_in_halves_until_the_culprit_is_alone(tmp_path: Path) -> None:
    """Seven of eight succeed, most of them at the second attempt; the eighth is put aside after four workers."""
    env = {"FAULTS_FORWARD_S": "0.02", "FAULTS_KILLING_PROMPT": _KILLS}
    options = ("-I", "tests.support.devices.slow_device,tests.support.devices.killing_prompt")
    with running_fleet(tmp_path, env=env) as fleet, fleet.client() as client, fleet.raw() as raw:
        prompts = [JOB["prompt"]] * 3 + [_KILLS] + [JOB["prompt"]] * 4
        ids = client.submit_many([{**JOB, "prompt": prompt, "steps": 40} for prompt in prompts])
        killed = 0
        while not all(client.status(job_id).is_final for job_id in ids):
            worker = fleet.start(f"k{killed}", options=options)
            wait_until(
                lambda worker=worker: not worker.is_running or all(client.status(each).is_final for each in ids), 90
            )
            killed += not worker.is_running
        results = [client.result(job_id, timeout_s=5) for job_id in ids]
        letters = [DeadLetter.model_validate_json(text) for text in raw.hvals(KEYS.dead)]

    poisoned = results.pop(3)
    attempts = Counter(result.attempts for result in results)
    print(f"measured a batch of eight with a culprit: {killed} workers killed, attempts of the others {dict(attempts)}")
    assert poisoned.error
    assert poisoned.error.code == "poisoned"
    assert {result.status for result in results} == {JobStatus.SUCCEEDED}
    assert killed <= 4
    assert max(attempts) <= 4
    assert attempts[2] >= 3
    [letter] = letters
    assert letter.job_id == poisoned.id
    assert re.search(r"1\. k0@\S+ \(cpu.*\), since \S+ \S+ UTC with 7 other jobs, at step \d+/40: ", letter.message)
    assert re.search(rf"{killed}\. k{killed - 1}@\S+ \(cpu.*\), since .* with no other job, ", letter.message)
