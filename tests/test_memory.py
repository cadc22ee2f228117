import platform
import subprocess
import sys

import pytest

from numvae.memory import keep_freed_memory

FAULTS_OF_TEN_STEPS = """
import resource, sys
import numpy as np
from numvae.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    arrays = [np.ones(300_000) for _ in range(8)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that learns from what is freed")
def test_arrays_of_later_steps_fall_on_warm_pages():
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", FAULTS_OF_TEN_STEPS, how], check=True, capture_output=True).stdout
        )
        for how in ("keep", "do not")
    }
    assert faults["keep"] < 500 < 5000 < faults["do not"]  # of 47,000 pages written


def test_it_may_be_called_again():
    keep_freed_memory()
    keep_freed_memory()
