"""xattr-check accept: what it asks pytest."""

import pytest

from xattr_check.cli import accept as cli_accept
from xattr_check.cli.main import main


@pytest.mark.parametrize("code", [0, 4])
def test_it_asks_pytest_and_returns_its_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli_accept.subprocess, "call", lambda command: asked.append(command) or code)
    arguments = ["--method=mymod:explain", "--subject=analytic", "--subject=digits", "--gates=own.yaml"]
    assert main(["accept", *arguments, "-n", "2"]) == code
    (command,) = asked
    assert command[1:] == [
        *("-m", "pytest", "--xattr-accept", "--xattr-method=mymod:explain", "--xattr-subject=analytic"),
        *("--xattr-subject=digits", "--xattr-gates=own.yaml", "-n", "2", "-p", "no:cacheprovider"),
    ]
