from __future__ import annotations

import os

import torch

from smallprint.training import machine


def test_the_number_of_threads_is_set_and_stated() -> None:
    before = torch.get_num_threads()
    try:
        machine.prepare(1)
        assert torch.get_num_threads() == 1
    finally:
        machine.prepare(before)
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


def test_a_step_too_small_to_share_gets_one_thread() -> None:
    assert machine.threads_for(50_768 * 32) == 1
    assert machine.threads_for(1_045_312 * 128) == machine.cores()


def test_an_environment_names_the_versions_that_ran() -> None:
    said = machine.environment("1.2.3", "cpu", 2)
    assert (said.smallprint, said.torch, said.device, said.threads) == ("1.2.3", torch.__version__, "cpu", 2)


def test_waiting_threads_are_told_not_to_spin_for_long() -> None:
    assert int(os.environ["GOMP_SPINCOUNT"]) <= 10_000
