"""One thread for every test and for the processes that tests start; and ``--device``.

The tensors of tests are small: a second thread waits longer than it works, and results do not depend on the machine.
"""

import os

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests that take a device run: cpu, cuda, mps, ...")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["PUSHFORWARD_TEST_DEVICE"] = config.getoption("--device")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of ``--device``; the test is skipped where this machine has none such."""
    wanted = torch.device(request.config.getoption("--device"))
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:  # PyTorch built without it says so by an assertion
        pytest.skip(f"no {wanted.type} device: {str(error).splitlines()[0]}")
    return wanted
