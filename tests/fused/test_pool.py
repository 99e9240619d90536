"""The pool of leased memory: one for the process, bounded, free again when asked."""

import gc
import importlib.util
import threading

import pytest
import torch
from flows import flow_of

import pushforward as pf
from pushforward.fused.pool import BATCH_SIZES, POOL, Pool


class Thing:
    nbytes = 10


def test_what_comes_back_is_leased_again():
    pool = Pool(100)
    thing = pool.lease("a", 3, Thing)
    assert pool.lease("a", 3, Thing) is not thing
    pool.give_back("a", 3, thing)
    assert pool.nbytes == 10
    assert pool.lease("a", 4, Thing) is not thing
    assert pool.lease("a", 3, Thing) is thing
    assert pool.nbytes == 0


def test_the_least_recently_used_go_first():
    pool = Pool(25)
    things = {kind: Thing() for kind in "abc"}
    for kind, thing in things.items():
        pool.give_back(kind, 1, thing)
    assert pool.nbytes == 20
    assert pool.lease("a", 1, Thing) is not things["a"]
    assert pool.lease("c", 1, Thing) is things["c"]


def test_it_does_not_grow_with_the_number_of_batch_sizes():
    pool = Pool(10**9)
    for batch in range(100):
        pool.give_back("a", batch, Thing())
    assert pool.nbytes == BATCH_SIZES * 10
    pf.free_memory()
    flow = flow_of("masked")
    with torch.no_grad():
        sizes = [flow.log_prob(torch.randn(n, 5).double()).sum() and POOL.nbytes for n in range(20, 60)]
    assert max(sizes) < 3 * sizes[2 * BATCH_SIZES]  # the batches grow threefold, not their number


def test_free_memory_lets_go_of_everything():
    flow_of("couplings").log_prob(torch.randn(50, 5).double()).sum().backward()
    assert POOL.nbytes > 0
    pf.free_memory()
    assert POOL.nbytes == 0


def test_threads_share_it_and_its_bound():
    pf.free_memory()
    flow, x = flow_of("couplings"), torch.randn(200, 5).double()
    expected = flow.log_prob(x).detach()
    found = []

    def work():
        for _ in range(5):
            loss = flow.log_prob(x)
            found.append(loss.detach())
            torch.autograd.grad(loss.sum(), list(flow.parameters()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(each, expected) for each in found)
    assert len(found) == 40
    assert POOL.nbytes <= POOL.limit


@pytest.mark.slow
def test_a_graph_that_nobody_walks_gives_its_memory_to_the_collector():
    pf.free_memory()
    flow, x = flow_of("masked"), torch.randn(50, 5).double()
    loss = flow.log_prob(x).sum()
    del loss
    gc.collect()
    loss = flow.log_prob(x).sum()
    loss.backward()
    kept = POOL.nbytes
    flow.log_prob(x).sum().backward()
    assert POOL.nbytes == kept


def test_the_bound_is_set_by_the_environment(monkeypatch):
    for megabytes in (7, 0):
        monkeypatch.setenv("PUSHFORWARD_POOL", str(megabytes))
        spec = importlib.util.find_spec("pushforward.fused.pool")
        again = importlib.util.module_from_spec(spec)  # a second one, as a new process would read it
        spec.loader.exec_module(again)
        assert again.POOL.limit == megabytes << 20


def test_networks_of_one_backward_pass_use_the_memory_of_gradients_one_after_another():
    pf.free_memory()
    flow = pf.realnvp(6, layers=4, hidden=(16, 16))
    flow.log_prob(torch.randn(32, 6)).sum().backward()
    lent = [len(things) for (kind, _), things in POOL._idle.items() if kind[0] == "gradients"]
    assert lent == [1]
