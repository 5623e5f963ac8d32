"""The parser of the command line."""

import argparse
from typing import NoReturn

INTERRUPTED = 130  # as the shell says it: 128 + SIGINT


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, as the rest of the library does, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and leave with 2."""
        self.exit(2, f"xattr-check: {message}; see {self.prog} --help\n")
