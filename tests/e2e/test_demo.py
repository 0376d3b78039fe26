"""`make demo` keeps its promise, also a second time, and `make demo-down` leaves nothing behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cluster as clusters
from tests.cluster.traces import left_behind, traces
from tests.tools import cache_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

PROJECT = Path(__file__).parents[2]
NAME = "tried"
HOME = cache_folder() / f"demo-{NAME}"


@pytest.fixture
def clean() -> Iterator[None]:
    demo("down")
    before = traces(NAME, HOME)
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBECONFIG", raising=False)
        cluster = clusters.running(NAME)
    assert cluster is not None
    demo("down")
    assert not left_behind(NAME, before, cluster.host_address, HOME)


def demo(action: str) -> str:
    """Run the demo as a person does, with a cluster of its own; gives what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["DEMO_NAME"] = NAME
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", action],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=PROJECT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.usefixtures("clean")
def test_a_newcomer_sees_a_wedding_lost_and_brought_back_as_often_as_they_like() -> None:
    for _ in range(2):
        story = demo("up")
        assert "photographs by SHA-256" in story
        assert "no row of any other wedding changed" in story
        assert "missing or damaged there" in story  # the damage was met, not missed
        assert "Owner not kept" not in story  # rows have no owners
