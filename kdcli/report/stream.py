"""A text stream whose reader may go away without ending the training."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TextIO

from kdcli.report.text import encodable


class SafeStream(io.TextIOBase):
    """Writes to ``stream`` as long as somebody reads it (a closed pipe, a terminal that hung up), then to nowhere.

    What the stream's encoding lacks is written as ASCII look-alikes or escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self._stream.encoding or "ascii"

    def write(self, text: str) -> int:
        """Write the text, or drop it when nobody reads."""
        if not self._gone:
            try:
                self._stream.write(encodable(text, self.encoding))
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless nobody reads."""
        if not self._gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self._stream.fileno()

    def _give_up(self) -> None:
        # What is left in the stream's buffer would fail once more when Python exits, and turn exit code 0 into 120.
        self._gone = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
