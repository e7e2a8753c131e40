"""Philox: the masks of dropout, drawn for every image by its place alone."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from smallprint.training.draws import dropout_threshold

# Philox 4x32 with seven rounds: J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random numbers: as easy as
# 1, 2, 3", SC 2011, section 3.3. The native step's `draw_mask` (native/runtime.c) draws the same masks in C.
_ROUNDS = 7
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # what each half of the key grows by from round to round
_WORD = 0xFFFFFFFF
_HALVES = 8  # of 16 bits, in the four words of one draw
_FLIP = 0x8000  # makes the order of unsigned halves that of signed ones
_FLIPS = (_FLIP << 16 | _FLIP) - (1 << 32)  # of both halves of a word, as a signed one

Key = tuple[int, int] | tuple[Tensor, Tensor]  # low and high 32 bits


def halves_of(key: int) -> tuple[int, int]:
    """A key of 64 bits as its low and high 32."""
    return key & _WORD, key >> 32 & _WORD


def kept(
    shape: tuple[int, ...], rate: float, key: Key, positions_N: Tensor, index: int, *, channels: bool = False
) -> Tensor:
    """Which values of N images survive a dropout: true with the probability 1 - rate.

    Args:
        shape: of one image, (C, H, W) or (features,).
        rate: share that is dropped, from 0 to 1.
        key: of the epoch; tensors (K, 1, 1) draw for K trainings at once.
        positions_N: places of the images in their epoch, 64-bit integers.
        index: which dropout of the network, counted from 0.
        channels: drop whole channels.

    Returns:
        Booleans (N, *shape), with `channels` (N, C, 1, 1), behind the dimension K of the key if it has one.
    """
    C, H, W = shape if len(shape) == 3 else (shape[0], 1, 1)
    kept = _halves(key, positions_N, index, C if channels else prod(shape), dropout_threshold(rate))
    lead = kept.shape[:-1]
    if channels:
        return kept.view(*lead, C, *(1 for _ in shape[1:]))
    # Half n decides the value n = (row * channels + channel) * width + column.
    return kept.view(*lead, H, C, W).transpose(-3, -2).reshape(*lead, *shape)


def _halves(key: Key, positions_N: Tensor, index: int, count: int, least: int) -> Tensor:
    """Whether each of the first `count` draws of 16 bits is `least` or more, (..., N, count).

    Unsigned words of 32 bits live in signed integers of 64: a product wraps, but shifted and masked its high word is
    right, and so are the low 32 bits, which stay unmasked until they are multiplied.
    """
    k0, k1 = key
    c0 = torch.arange(-(-count // _HALVES), device=positions_N.device)
    c1 = positions_N[:, None]
    c2 = torch.full((1, 1), index, device=positions_N.device)
    c3 = torch.zeros_like(c2)
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = ((second >> 32) ^ c1 ^ k0) & _WORD, second
        c2, c3 = ((first >> 32) ^ c3 ^ k1) & _WORD, first
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    words = torch.stack((c0, c1, c2, c3), -1).to(torch.int32)
    halves = (words ^ _FLIPS).view(torch.int16)  # the low half first: PyTorch runs on little-endian machines alone
    return (halves >= least - _FLIP).flatten(-2)[..., :count]
