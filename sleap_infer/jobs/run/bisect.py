"""Finds the frames that end a process, by running ever fewer of them. Pure."""

from __future__ import annotations

from attrs import define, field

from sleap_infer.jobs.store.ranges import Range


@define
class Narrowing:
    """What is left to try of a range in which a process ended again and again.

    Frames are run one by one, each announced before it is touched, so that the last that was announced is guilty. Where
    the very first of a run is, it may be that a decoder cannot even pass through that place; if the next one is too,
    the rest is halved: where the second half begins well, the guilty ones end in the first.

    Attributes:
        todo: ranges to run, the next one last, each with whether the frame before it ended the process at once.
    """

    todo: list[tuple[Range, bool]] = field(factory=list)

    @classmethod
    def of(cls, places: Range) -> Narrowing:
        """Begin with a whole range."""
        return cls([(places, False)])

    @property
    def next(self) -> Range | None:
        """What is run next; `None` where all is done."""
        return self.todo[-1][0] if self.todo else None

    def done(self) -> None:
        """Record that the range was run to its end."""
        self.todo.pop()

    def crashed(self, at: int) -> Range:
        """Record that the process ended at a frame of the range; return all failing frames found.

        >>> narrowing = Narrowing.of(Range(0, 8))
        >>> narrowing.crashed(3), narrowing.next
        (Range(start=3, stop=4), Range(start=4, stop=8))
        >>> narrowing.crashed(4), narrowing.next
        (Range(start=4, stop=5), Range(start=6, stop=8))
        >>> narrowing.crashed(6), narrowing.next
        (Range(start=5, stop=7), Range(start=7, stop=8))
        >>> narrowing.done()
        >>> narrowing.next is None
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
