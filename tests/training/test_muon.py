from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from smallprint.spec.recipe import Muon as Rule
from smallprint.training.muon import Muon, orthogonalised
from smallprint.training.native.plan import Matrix

SHAPES = [(1, 1), (1, 7), (5, 5), (23, 20), (12, 108), (40, 9)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_matrix_keeps_its_singular_vectors_and_its_values_come_near_1(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.linspace(1, 0.05, min(shape), dtype=torch.float64)
    found = left.mT @ orthogonalised(left @ torch.diag(values) @ right) @ right.mT
    assert found.diag().min() > 0.65
    assert found.diag().max() < 1.25
    torch.testing.assert_close(found, torch.diag(found.diag()), atol=1e-8, rtol=0)


def test_many_matrices_are_orthogonalised_as_each_alone() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(4, 9, 6)
    found = orthogonalised(matrices)
    for one, alone in zip(found, matrices, strict=True):
        torch.testing.assert_close(one, orthogonalised(alone))


def test_nothing_stays_nothing() -> None:
    assert not orthogonalised(torch.zeros(3, 4)).any()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_its_steps_are_those_of_pytorch_as_far_as_bfloat16_goes(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    mine, theirs = (Parameter(value) for value in torch.randn(shape).repeat(2, 1, 1))
    rule = Rule(lr=0.1, momentum=0.9, weight_decay=0.2, sgd_lr=1)
    matrix = Matrix(name="", offset=0, rows=shape[0], columns=shape[1])
    ours, reference = Muon({mine: matrix}, rule), torch.optim.Muon([theirs], 0.1, weight_decay=0.2, momentum=0.9)
    begun = mine.detach().clone()
    for _ in range(5):
        mine.grad = torch.randn(shape)
        theirs.grad = mine.grad.clone()
        ours.step()
        reference.step()
    moved = (theirs - begun).norm()
    assert (mine - theirs).norm() < 0.03 * moved
    torch.testing.assert_close(ours.state[mine]["momentum_buffer"], reference.state[theirs]["momentum_buffer"])
