"""Memory that is used again: never while anything still refers to it, and never by two threads."""

import platform
import subprocess
import sys
import threading

import pytest
import torch

from pushforward.numerics import scratch
from pushforward.numerics.scratch import keep, recycled, take

LIKE = torch.empty(0)
N = 1 << 15


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(scratch, "_buffers", scratch._Buffers())


def test_memory_comes_back_only_when_nothing_refers_to_it():
    first = recycled(LIKE, N)
    place, view = first.data_ptr(), first[3:5]
    del first
    assert recycled(LIKE, N).data_ptr() != place  # the view is alive
    del view
    assert recycled(LIKE, N).data_ptr() == place


def test_a_graph_refers_to_what_it_saved():
    weight = torch.ones(N, requires_grad=True)
    saved = recycled(LIKE, N).fill_(2.0)
    place, loss = saved.data_ptr(), (weight * saved).sum()
    del saved
    assert recycled(LIKE, N).data_ptr() != place
    loss.backward()
    torch.testing.assert_close(weight.grad, torch.full((N,), 2.0))
    del loss
    assert recycled(LIKE, N).data_ptr() == place


def test_what_threads_use_is_theirs():
    places = {}

    def use(name):
        places[name] = recycled(LIKE, N)

    threads = [threading.Thread(target=use, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tensor.data_ptr() for tensor in places.values()}) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (200, 300)])
def test_shape_and_dtype(dtype, shape):
    tensor = recycled(torch.empty(0, dtype=dtype), *shape)
    assert tensor.shape == shape
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()


def test_no_more_is_held_than_the_bound(monkeypatch):
    monkeypatch.setattr(scratch, "_MOST_BYTES", 10 * N * 4)
    alive = [recycled(LIKE, N + k) for k in range(25)]
    for k, tensor in enumerate(alive):
        tensor.fill_(float(k))
    assert all((tensor == k).all() for k, tensor in enumerate(alive))
    assert scratch._buffers.bytes <= 10 * (N + 25) * 4


def test_a_kept_thing_is_lent_to_one_at_a_time():
    keep("key", "thing", 1)
    assert take("key") == "thing"
    assert take("key") is None
    keep("key", "first", 1)
    keep("key", "second", 1)
    assert {take("key"), take("key"), take("key")} == {"first", "second", None}
    keep("key", "thing", 1 << 40)
    assert take("key") is None  # too large to keep
    for k in range(100):
        keep(k, k, 1)
    assert take(0) is None
    assert take(99) == 99


def test_kept_things_are_bounded_in_number_and_in_size():
    for k in range(10):
        keep(k, k, scratch._MOST_NUMBERS // 8)
    assert sum(take(k) is not None for k in range(10)) == 8
    assert (scratch._buffers.numbers, scratch._buffers.things) == (0, 0)


FAULTS = """
import resource
import torch
import pushforward as pf

flow, x = pf.glow((3, 32, 32), steps=2), torch.randn(16, 3, 32, 32)


def faults():
    with torch.no_grad():
        flow.log_prob(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


before = [faults() for _ in range(5)][-1]
print((([faults() for _ in range(10)][-1]) - before) / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps freed memory")
def test_passes_take_their_memory_from_what_was_freed():
    """Activations of a megabyte, which the C library would take anew from the system page by page: 500 faults each."""
    shown = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert float(shown.stdout) < 100
