from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """So small a model gains nothing from a second thread, and loses much by it on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
