"""What is being computed, on the terminal: in place where there is one, a line now and then elsewhere."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

# Seconds of silence between two lines, where lines stay.
INTERVAL = 15.0
SAVE, RESTORE, ERASE = "\x1b7", "\x1b8", "\x1b[K"


class Progress:
    """Told what is being computed, it says so beside the current line of pytest's output."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.quiet = config.option.verbose < 0 or hasattr(config, "workerinput")
        self._since = time.monotonic()
        self._shown = False

    @property
    def _reporter(self) -> Any:
        return self.config.pluginmanager.get_plugin("terminalreporter")

    def __call__(self, label: str) -> None:
        """Show a label; where lines stay, only after a silence."""
        reporter = self._reporter
        if self.quiet or reporter is None:
            return
        in_place = bool(reporter.hasmarkup and reporter.isatty())
        if not in_place and time.monotonic() - self._since < INTERVAL:
            return
        self._since = time.monotonic()
        with self._uncaptured():
            if in_place:
                self._in_place(reporter, label)
            else:
                reporter.ensure_newline()
                reporter.write_line(f"xattr: {label} …")

    def warn(self, text: str) -> None:
        """A line of its own, that stays."""
        reporter = self._reporter
        if self.quiet or reporter is None:
            return
        with self._uncaptured():
            self.clear()
            reporter.ensure_newline()
            reporter.write_line(f"xattr: {text}", yellow=True)

    def _in_place(self, reporter: Any, label: str) -> None:
        writer = reporter._tw
        room = writer.fullwidth - writer.width_of_current_line - 3
        if room < 10:
            return
        text = label if len(label) <= room else f"{label[: room - 1]}…"
        # Straight to the file: the writer counts columns, and these are not there to stay.
        writer._file.write(f"{SAVE} {text}{ERASE}{RESTORE}")
        writer._file.flush()
        self._shown = True

    def clear(self) -> None:
        """Take away what stands on the line, and begin to wait anew."""
        self._since = time.monotonic()
        if self._shown:
            file = self._reporter._tw._file
            file.write(ERASE)
            file.flush()
            self._shown = False

    def _uncaptured(self) -> AbstractContextManager[Any]:
        manager = self.config.pluginmanager.get_plugin("capturemanager")
        return nullcontext() if manager is None else manager.global_and_fixture_disabled()
