"""Ctrl-C as a request to stop after the current step, not as an exception in the middle of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

__all__ = ["Interrupted", "Interruption"]


class Interrupted(KeyboardInterrupt):
    """The work was stopped at a good moment; says where it stands and how to go on.

    >>> Interrupted("stopped", signal.SIGTERM).exit_code
    143
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
        """As shells count: 130 for SIGINT, 143 for SIGTERM."""


class Interruption:
    """While entered, the first SIGINT or SIGTERM sets ``signal``; a second one acts as it would have without us.

    >>> with Interruption() as interruption:
    ...     interruption.requested
    False
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]
