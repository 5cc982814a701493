"""The guard over the unit tests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_a_process_of_a_unit_test_is_refused() -> None:
    with pytest.raises(AssertionError, match="starts no process"):
        subprocess.run([sys.executable, "-c", ""], check=False)
    with pytest.raises(AssertionError, match="starts no process"):
        os.fork()
