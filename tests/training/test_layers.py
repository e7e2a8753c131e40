from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from smallprint.training.layers import BatchNorm, Dropout

SHAPES = [(8, 12, 5, 5), (8, 8, 6, 6), (3, 10, 3, 3), (5, 7, 3, 3), (8, 16, 4, 4), (16, 24, 2, 2), (4, 8, 1, 1), (6, 9)]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _reference(channels: int, dimensions: int, *, scaled: bool = True) -> nn.Module:
    norm = (nn.BatchNorm2d if dimensions == 4 else nn.BatchNorm1d)(channels).double()
    if not scaled:
        norm.register_parameter("weight", None)
    return norm


@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "no scale"])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_equals_pytorch_in_double_precision(shape: tuple[int, ...], scaled: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    ours, reference = BatchNorm(shape[1], scaled=scaled), _reference(shape[1], len(shape), scaled=scaled)
    with torch.no_grad():
        for weight, same in zip(ours.parameters(), reference.parameters(), strict=True):
            weight.copy_(torch.randn(weight.shape, generator=generator))
            same.copy_(weight)
    for _ in range(3):  # the running statistics need more than one step to differ
        x = torch.randn(shape, generator=generator) * 3 + 5
        direction = torch.randn(shape, generator=generator)
        mine, theirs = _channels_last(x.clone()).requires_grad_(), x.double().requires_grad_()
        y, expected = ours(mine), reference(theirs)
        (y * direction).sum().backward()
        (expected * direction).sum().backward()
        torch.testing.assert_close(y.double(), expected, atol=2e-5, rtol=1e-5)
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad.double(), theirs.grad, atol=2e-5, rtol=1e-4)
    for (name, ours_grad), (_, their_grad) in zip(ours.named_parameters(), reference.named_parameters(), strict=True):
        assert ours_grad.grad is not None
        torch.testing.assert_close(ours_grad.grad.double(), their_grad.grad, atol=1e-3, rtol=1e-4, msg=name)
    buffers = dict(reference.named_buffers())
    torch.testing.assert_close(ours.running_mean.double(), buffers["running_mean"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.running_var.double(), buffers["running_var"], atol=1e-5, rtol=1e-5)
    ours.eval()
    reference.eval()
    torch.testing.assert_close(ours(x).double(), reference(x.double()), atol=2e-5, rtol=1e-5)


def test_batch_norm_stays_exact_where_the_mean_dwarfs_the_deviation() -> None:
    x = torch.randn((16, 12, 4, 4), generator=torch.Generator().manual_seed(2)) + 1000
    expected = nn.BatchNorm2d(12).double()(x.double())
    torch.testing.assert_close(BatchNorm(12)(_channels_last(x)).double(), expected, atol=2e-3, rtol=0)


def test_batch_norm_takes_a_batch_of_one_value_per_channel() -> None:
    norm = BatchNorm(4)
    y = norm(torch.full((1, 4, 1, 1), 3.0))
    torch.testing.assert_close(y, torch.full((1, 4, 1, 1), 3.0 / (1 + norm.EPS) ** 0.5))
    assert norm.running_mean.eq(0).all()


def test_a_relu_may_overwrite_the_output_of_batch_norm() -> None:
    x = _channels_last(torch.randn((4, 8, 5, 5), generator=torch.Generator().manual_seed(3)))
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    nn.Sequential(BatchNorm(8), nn.ReLU(inplace=True))(mine).square().sum().backward()
    nn.Sequential(BatchNorm(8), nn.ReLU())(theirs).square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def _dropout(rate: float, seed: int, *, channels: bool = False) -> Dropout:
    dropout = Dropout(rate, channels=channels)
    dropout.key = (seed, 0)
    return dropout


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_dropout_drops_each_element_with_its_rate_and_keeps_the_mean(rate: float) -> None:
    count = 400_000
    x = torch.ones(count // 400, 4, 10, 10)
    y = _dropout(rate, 4)(x)
    dropped = (y == 0).double().mean().item()
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / count) ** 0.5
    assert y[y != 0].unique().numel() == 1
    assert y.max().item() == pytest.approx(1 / (1 - rate), rel=2e-4)  # a rate is a share of 65,536


def test_dropout_drops_elements_independently_of_each_other() -> None:
    dropped = (_dropout(0.3, 5)(torch.ones(1000, 1, 16, 16)) == 0).double().flatten(1)
    per_image = dropped.sum(1)
    assert per_image.var().item() == pytest.approx(256 * 0.3 * 0.7, rel=0.15)  # binomial, not fixed
    neighbours = torch.corrcoef(torch.stack((dropped[:, :-1].flatten(), dropped[:, 1:].flatten())))[0, 1]
    assert abs(neighbours.item()) < 0.01


@pytest.mark.parametrize("expanded", [False, True])
def test_the_gradient_of_dropout_is_its_own_mask(expanded: bool) -> None:
    x = _channels_last(torch.randn(6, 5, 7, 7)).requires_grad_()
    y = _dropout(0.5, 6)(x)
    gradient = torch.ones(6, 5, 1, 1).expand(6, 5, 7, 7) if expanded else torch.ones(6, 5, 7, 7)
    y.backward(gradient)  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (y != 0) / 0.5)


def test_dropout_of_channels_drops_whole_channels() -> None:
    y = _dropout(0.5, 7, channels=True)(torch.ones(200, 10, 4, 4))
    whole = y.flatten(2)
    assert ((whole == 0).all(2) | (whole == 2).all(2)).all()
    assert 0.4 < (whole == 0).double().mean().item() < 0.6


def test_dropout_draws_the_same_from_the_same_seed_and_nothing_in_a_test() -> None:
    x = torch.ones(10, 3, 8, 8)
    assert torch.equal(_dropout(0.2, 8)(x), _dropout(0.2, 8)(x))
    assert not torch.equal(_dropout(0.2, 8)(x), _dropout(0.2, 9)(x))
    testing = _dropout(0.2, 8).eval()
    assert torch.equal(testing(x), x)
