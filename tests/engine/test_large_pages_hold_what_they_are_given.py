"""Tensors in large pages are zeros of their own at first, and keep their values apart."""

from __future__ import annotations

import gc

import pytest
import torch

from inference.kernels import pages


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 1000, 7)])
def test_what_is_written_is_read_back(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensors = [pages.zeros(shape, dtype) for _ in range(4)]
    assert all(not tensor.any() and tensor.shape == shape and tensor.dtype == dtype for tensor in tensors)
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert [float(tensor.float().mean()) for tensor in tensors] == [0.0, 1.0, 2.0, 3.0]


def test_neighbours_begin_on_lines_of_their_own() -> None:
    assert all(pages.zeros((5,), torch.uint8).data_ptr() % 64 == 0 for _ in range(10))


def test_more_than_a_chunk_begins_with_a_large_page_and_leaves_the_chunk_alone() -> None:
    before = pages.zeros((64,), torch.uint8)
    large = pages.zeros((pages.CHUNK + 1,), torch.uint8)
    after = pages.zeros((64,), torch.uint8)
    assert large.data_ptr() % pages.LARGE_PAGE == 0
    assert after.data_ptr() == before.data_ptr() + 64


def test_a_tensor_outlives_the_chunk_it_was_cut_from() -> None:
    kept = pages.copied(torch.arange(1000))
    for _ in range(2 * pages.CHUNK // (pages.CHUNK // 4)):
        pages.zeros((pages.CHUNK // 4,), torch.uint8)
    gc.collect()
    assert torch.equal(kept, torch.arange(1000))
