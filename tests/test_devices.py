"""Memory: real refusals of the allocator are recognised, other errors are not."""

import numpy as np
import pytest
import torch

from muybridge.devices import is_out_of_memory, peak_memory_bytes


def test_the_allocator_s_own_refusal_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as refused:
        np.empty(1 << 58)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))


def test_a_shape_error_is_no_lack_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(caught.value)


def test_the_peak_grows_by_what_is_held_at_once():
    before = peak_memory_bytes(torch.device("cpu"))
    held = torch.ones(40_000_000)  # 160 MB
    after = peak_memory_bytes(torch.device("cpu"))
    assert before is not None and after is not None
    assert after >= 160_000_000
    assert after >= before
    assert held[0] == 1
