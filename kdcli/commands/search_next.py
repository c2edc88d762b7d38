"""What a search tries next: what the sampler says, unless it was tried before or is not allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kdcli.commands.jobs import Job
from kdcli.commands.search_space import Point, Space
from kdcli.errors import UsageError

if TYPE_CHECKING:
    from kdcli.program.search import Memory

_ATTEMPTS = 20

Compose = Callable[[Point], Job]


class Proposals:
    """Jobs that were not tried yet.

    Args:
        space: Their values.
        compose: Makes a point a job; raises UsageError where the schema refuses it.
        memory: Asked for points.
        tried: Points that were.
        say: Told of points that are not allowed.
    """

    def __init__(
        self, space: Space, compose: Compose, memory: Memory, tried: Iterable[Point], say: Callable[[str], None]
    ) -> None:
        self._space = space
        self._compose = compose
        self._memory = memory
        self._tried = {tuple(space.words(point)) for point in tried}
        self._say = say

    def next_job(self) -> Job | None:
        """The sampler's next; where it repeats itself, the first point of the grid that is left, None if none is."""
        for _ in range(_ATTEMPTS):
            job = self._taken(self._memory.ask())
            if job is not None:
                return job
        for point in self._space.grid():
            if tuple(self._space.words(point)) not in self._tried:
                job = self._taken(self._memory.ask(point))
                if job is not None:
                    return job
        return None

    def _taken(self, point: Point) -> Job | None:
        """The job of a point that was asked for, None if it is refused."""
        words = tuple(self._space.words(point))
        job = None
        if words not in self._tried:
            self._tried.add(words)
            try:
                job = self._compose(point)
            except UsageError as error:
                self._say(f"{' '.join(words)} is left out: {error.what}")
        if job is None:
            self._memory.refuse()
        else:
            self._memory.accept()
        return job
