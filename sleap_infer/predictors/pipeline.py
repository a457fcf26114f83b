"""Stages in threads, connected by bounded queues. Independent of poses.

Each stage takes items from the previous one, works on them in its own thread, and puts results into a bounded queue.
Order is preserved. An error is raised at its position in the stream. Closing the last stage stops every thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_stages(items: Iterable[Any], stages: Sequence[Callable[[Any], Any]], queue_size: int) -> Stage[Any, Any]:
    """Send items through functions that all work at the same time.

    Args:
        items: read in a separate thread.
        stages: functions, in order; each item goes through all of them.
        queue_size: maximum number of results that wait behind each stage.

    Returns:
        An iterator over the results, in order, to be closed: use it in a `with` block.

    >>> with run_stages(range(3), [lambda x: x + 1, str], queue_size=2) as results:
    ...     list(results)
    ['1', '2', '3']
    """
    last: Stage[Any, Any] = Stage(items, _same, queue_size, "read")
    for number, work in enumerate(stages):
        last = Stage(last, work, queue_size, getattr(work, "__name__", f"stage {number}"))
    return last


class Stage(Generic[Item, Result]):
    """One thread that works on the items of another iterable; an iterator over its results, and a context manager.

    Args:
        items: the items. If they can be closed, they are closed with the stage.
        work: function of an item.
        queue_size: maximum number of results that wait.
        name: name of the thread.
    """

    def __init__(self, items: Iterable[Item], work: Callable[[Item], Result], queue_size: int, name: str) -> None:
        self._items = items
        self._work = work
        self._results: Channel[Result] = Channel(queue_size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"sleap_infer {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Result]:
        """Iterate over the remaining results."""
        return self

    def __next__(self) -> Result:
        """Return the next result, or raise the error at its position."""
        taken = self._results.take()
        if taken:
            return taken[0]
        error, self._error = self._error, None
        raise error if error is not None else StopIteration

    def __enter__(self) -> Self:
        """Enter the lifetime of the threads."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def stop(self) -> None:
        """Stop this stage and those before it, without waiting."""
        self._results.close(discard=True)
        if isinstance(self._items, Stage):
            self._items.stop()

    def close(self) -> None:
        """End this stage and those before it; no thread is left when it returns."""
        self.stop()
        self._thread.join()
        if isinstance(self._items, Stage):
            self._items.close()

    def _run(self) -> None:
        items = iter(self._items)
        try:
            for item in items:
                if not self._results.put(self._work(item)):
                    break
        except BaseException as error:
            self._error = error
        finally:
            close = getattr(items, "close", None)
            if close is not None and not isinstance(items, Stage):
                close()
            self._results.close()


class Channel(Generic[Item]):
    """A bounded queue between two threads that either side can close.

    Args:
        size: maximum number of items.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[Item] = deque()
        self._size = size
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Add an item when there is capacity; return `False` if the channel is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._items) < self._size)
            if self._is_closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> tuple[Item] | tuple[()]:
        """Wait for the oldest item and return it in a tuple; an empty tuple if the channel is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._items))
            if not self._items:
                return ()
            item = self._items.popleft()
            self._changed.notify_all()
            return (item,)

    def close(self, discard: bool = False) -> None:
        """Accept no more items. Those in the channel can still be taken unless discarded."""
        with self._changed:
            self._is_closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()


def _same(item: Item) -> Item:
    return item
