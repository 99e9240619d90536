"""The number of threads: chosen by the time that steps take, for this thread of the caller's alone, and given back."""

from __future__ import annotations

import threading

import pytest
import torch

import pushforward as pf
from pushforward.numerics import threads
from pushforward.objectives.divergences import Objective
from pushforward.training import threads as choosing
from pushforward.training.distributed import World

CPU = torch.device("cpu")


def rows(n=200):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1))


def small_flow():
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,))


def on_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def four(monkeypatch):
    """As if the caller's thread had four."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A machine whose steps take as long as a table says, by the number of threads that are set."""

    def __init__(self, monkeypatch, seconds):
        self.seconds, self.now, self.used = seconds, 0.0, []
        monkeypatch.setattr(choosing.time, "perf_counter", lambda: self.now)

    def run(self, chosen, steps):
        for _ in range(steps):
            self.used.append(torch.get_num_threads())
            self.now += self.seconds[self.used[-1]]
            chosen.took(self.seconds[self.used[-1]])
        return self.used[-1]


def test_the_quickest_number_is_chosen_and_the_callers_restored(four, monkeypatch):
    for seconds, best in (({1: 5.0, 2: 3.0, 4: 2.0}, 4), ({1: 1.0, 2: 5.0, 4: 9.0}, 1), ({1: 2.0, 2: 1.0, 4: 1.2}, 2)):
        machine = Machine(monkeypatch, seconds)
        with choosing.StepThreads("auto", World(CPU)) as chosen:
            assert machine.run(chosen, 60) == best == chosen.number
            assert max(machine.used) == (2 if best == 1 else 4)  # where two are slower, four are not tried
        assert torch.get_num_threads() == 4


def test_equal_numbers_leave_cores_to_others(four, monkeypatch):
    machine = Machine(monkeypatch, {1: 1.03, 2: 1.0, 4: 1.0})
    with choosing.StepThreads("auto", World(CPU)) as chosen:
        assert machine.run(chosen, 60) == 1


def test_a_neighbour_that_comes_and_goes_is_noticed(four, monkeypatch):
    idle = {1: 4.0, 2: 2.0, 4: 1.0}
    machine = Machine(monkeypatch, idle)
    with choosing.StepThreads("auto", World(CPU)) as chosen:
        assert machine.run(chosen, 100) == 4
        machine.seconds = {1: 4.0, 2: 9.0, 4: 20.0}
        assert machine.run(chosen, 30) == 1
        machine.seconds = idle
        assert machine.run(chosen, 2000) == 4
        machine.run(chosen, 1000)
        trying = sum(number != 4 for number in machine.used[-1000:])
    assert trying < 50  # of a thousand steps


def test_beside_busy_neighbours_hardly_a_step_is_lost(four, monkeypatch):
    machine = Machine(monkeypatch, {1: 0.1, 2: 2.0, 4: 5.0})
    with choosing.StepThreads("auto", World(CPU)) as chosen:
        assert machine.run(chosen, 1000) == 1
    assert machine.used.count(2) <= 2
    assert machine.used.count(4) == 0


def test_a_number_is_pinned(four, monkeypatch):
    machine = Machine(monkeypatch, {1: 1.0, 2: 1.0, 3: 9.0, 4: 1.0})
    with choosing.StepThreads(3, World(CPU)) as chosen:
        machine.run(chosen, 50)
    assert set(machine.used) == {3}


@pytest.mark.parametrize("wish", [0, -1, 1.5, True, "all"])
def test_what_is_no_number_of_threads_is_refused(wish):
    with pytest.raises(ValueError, match=r'threads must be "auto" or an integer of at least 1, got threads='):
        pf.fit(small_flow(), rows(), steps=1, threads=wish)


class Watched(Objective):
    """Maximum likelihood that notes the number of threads of its steps, and may fail in one of them."""

    def __init__(self, flow, error=None):
        super().__init__(flow)
        self.error, self.used = error, []

    def forward(self, x, context=None):
        self.used.append(torch.get_num_threads())
        if self.error is not None and len(self.used) == 5:
            raise self.error
        return -self.flow(x).mean()

    def held_out(self, x, context=None):
        return -self.flow(x)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ArithmeticError("x")])
def test_fit_restores_the_callers_number_whatever_happens(four, error):
    objective = Watched(small_flow(), error)
    try:
        result = pf.fit(objective, rows(), steps=6, threads=2)
        assert result.threads == 2
        assert result.interrupted == (error is not None)
        assert {line["threads"] for line in result.history} == {2}
    except ArithmeticError:
        assert error is not None
    assert set(objective.used) == {2}
    assert torch.get_num_threads() == 4


def test_the_default_uses_no_more_than_the_caller_allows():
    objective = Watched(small_flow())
    assert pf.fit(objective, rows(), steps=30).threads == 1  # what the tests run with
    assert set(objective.used) == {1}


def test_two_fits_in_two_threads_do_not_disturb_each_other(four):
    both = threading.Barrier(2, timeout=60)

    class Meeting(Watched):
        def forward(self, x, context=None):
            both.wait()  # in every step the other fit is in a step too
            return super().forward(x, context)

    ends, before = {}, on_a_new_thread(torch.get_num_threads)

    def work(number):
        objective = Meeting(small_flow())
        threads.available()
        pf.fit(objective, rows(), steps=6, threads=number, progress=False)
        ends[number] = set(objective.used), torch.get_num_threads()

    workers = [threading.Thread(target=work, args=(number,)) for number in (2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert ends == {2: ({2}, 4), 3: ({3}, 4)}
    assert torch.get_num_threads() == 4
    assert on_a_new_thread(torch.get_num_threads) == before


def test_one_threads_number_is_not_inherited_by_new_threads(four):
    with threads.using(2):
        assert torch.get_num_threads() == 2
        assert on_a_new_thread(torch.get_num_threads) == 4
    assert torch.get_num_threads() == 4


def test_processes_that_train_together_share_the_cores(four, monkeypatch):
    together = World(CPU)
    together.together = True
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(choosing.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    chosen = choosing.StepThreads("auto", together)
    assert (chosen.number, chosen.candidates) == (3, [3])
