"""How every failure of the command line must look."""

import re

import pytest

from harness.server import run


@pytest.fixture
def refused(capsys):
    """Runs the command line; it must fail with that code, and say why in one line and what to do in another."""

    def check(code, *arguments, says="", hint="", **settings):
        answer = run(*arguments, **settings)
        text = answer.stderr.decode()
        with capsys.disabled():
            print(f"\n$ tidelog {' '.join(map(str, arguments))}\n{text}[exit {answer.returncode}]")
        lines = [line for line in text.splitlines() if not re.match(r"\S+Z? +(TRACE|DEBUG|INFO|WARN)", line)]
        assert answer.returncode == code, text
        assert len(lines) == 2, text
        error, advice = lines
        assert error.startswith("error: ") and not error.endswith("."), text
        assert not re.match(r"[A-Z][a-z]", error.removeprefix("error: ")), text
        assert advice.startswith("hint: "), text
        assert re.search(says, error), text
        assert re.search(hint, advice), text
        assert answer.stdout == b""
        return answer

    return check
