"""The threads of a training, which decide how its sums are rounded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.training import stage
from facenet_core.training.engine import threads
from tests.support.training_runs import SMALL, Killed, changed, kill_at, run

CONFIG = changed(SMALL, batch_size=30, max_nrof_epochs=1)
ON_CPUS = """
import os, sys
root, crops_uri, cpus, run_id, stop = sys.argv[1:]
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cpus)])
from tests.training.engine.test_threads import CONFIG
from tests.support.training_runs import Killed, kill_at, run, weights
try:
    uri = run(root, crops_uri, CONFIG, run_id, kill_at(int(stop)))
except Killed:
    sys.exit()
import hashlib
print(hashlib.sha256(b"".join(array.tobytes() for array in weights(uri))).hexdigest())
"""


def on_cpus(root, crops_uri, cpus, run_id, stop=99):
    arguments = [root, crops_uri, str(cpus), run_id, str(stop)]
    program = [sys.executable, "-c", ON_CPUS, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    environment.pop("TF_NUM_INTRAOP_THREADS", None)
    result = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_training_notes_its_threads_and_says_where_it_goes_on_with_others(
    root, crops_uri, caplog
):
    with pytest.raises(Killed):
        run(root, crops_uri, CONFIG, "first", kill_at(2))
    plan = stage.plan_train(root, crops_uri, CONFIG)
    uri = storage.join(plan.uri, "attempts", "threads.json")
    assert json.loads(storage.read_bytes(uri)) == {"threads": threads.current()}
    # The engine runs here already, so that another number comes too late.
    storage.write_bytes(uri, b'{"threads": 99}')
    run(root, crops_uri, CONFIG, "second")
    assert f"began with 99 threads and goes on with {threads.current()}" in caplog.text
    assert storage.open_artifact(plan.uri, "train").details["threads"] == threads.current()
    assert not storage.exists(uri)


@pytest.mark.slow
def test_a_training_that_goes_on_with_other_cpus_gives_the_same_weights(root, crops_uri):
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs, and to choose among them")
    through = on_cpus(f"{root}/one", crops_uri, 1, "run")
    assert on_cpus(f"{root}/moved", crops_uri, 1, "first", stop=2) == ""
    assert on_cpus(f"{root}/moved", crops_uri, 2, "second") == through
