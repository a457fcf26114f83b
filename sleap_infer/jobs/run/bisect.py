"""Finds the frames that end a process, by running ever fewer of them. Pure."""

from __future__ import annotations

from attrs import define, field

from sleap_infer.jobs.store.ranges import Range


@define
class Bisection:
    """The rest of a range in which a process ended again and again.

    Frames are run one by one, and each is announced before it is read, so that the last announced frame is the failing
    one. If the first frame of a run fails, the decoder may be unable to pass this position; if the next one fails too,
    the rest is halved: if the second half begins well, the failing frames end in the first.

    Attributes:
        todo: ranges to run, the next one last, each with whether the frame before it ended the process at once.
    """

    todo: list[tuple[Range, bool]] = field(factory=list)

    @classmethod
    def of(cls, places: Range) -> Bisection:
        """Begin with a whole range."""
        return cls([(places, False)])

    @property
    def next(self) -> Range | None:
        """Return the range to run next; `None` if all is done."""
        return self.todo[-1][0] if self.todo else None

    def done(self) -> None:
        """Record that the range was run to its end."""
        self.todo.pop()

    def crashed(self, at: int) -> Range:
        """Record that the process ended at a frame of the range; return all failing frames found.

        >>> bisection = Bisection.of(Range(0, 8))
        >>> bisection.crashed(3), bisection.next
        (Range(start=3, stop=4), Range(start=4, stop=8))
        >>> bisection.crashed(4), bisection.next
        (Range(start=4, stop=5), Range(start=6, stop=8))
        >>> bisection.crashed(6), bisection.next
        (Range(start=5, stop=7), Range(start=7, stop=8))
        >>> bisection.done()
        >>> bisection.next is None
        True
        """
        places, after_another = self.todo.pop()
        begin = at
        assert places.stop is not None
        if at == places.start and self.todo and self.todo[-1][0].stop == at:
            begin = self.todo.pop()[0].start  # the half before this one: it cannot be passed through either
        rest = Range(at + 1, places.stop)
        if len(rest) and at == places.start and after_another and len(rest) > 1:
            middle = (rest.start + places.stop) // 2
            self.todo += [(Range(rest.start, middle), True), (Range(middle, places.stop), True)]
        elif len(rest):
            self.todo.append((rest, True))
        return Range(begin, at + 1)
