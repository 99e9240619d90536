"""Sizes that are tensors, as a forged file may hold them, are numbers before anything is counted with them."""

import time

import pytest
import torch

from pushforward.nets.made import MADE


def test_a_width_that_is_a_tensor_counts_as_fast_as_a_number():
    start = time.process_time()
    net = MADE(3, 2, hidden=torch.tensor([100_000]))
    assert net.degrees == MADE(3, 2, hidden=(100_000,)).degrees
    assert time.process_time() - start < 10


def test_a_width_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError):
        MADE(3, 2, hidden=(8.5,))
