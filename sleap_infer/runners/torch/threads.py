"""Set the number of PyTorch's threads for one of our threads only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

Value = TypeVar("Value")

_ONE_AT_A_TIME = threading.Lock()


def limit_threads(n_threads: int) -> None:
    """Have PyTorch use `n_threads` cores for calls of this thread.

    `torch.set_num_threads` applies to the calling thread and to all threads that use PyTorch for the first time later;
    for these, the previous number is restored.
    """
    if torch.get_num_threads() == n_threads:
        return
    with _ONE_AT_A_TIME:
        before = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(n_threads)
        _in_new_thread(lambda: torch.set_num_threads(before))


def _in_new_thread(function: Callable[[], Value]) -> Value:
    found: list[Value] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]
