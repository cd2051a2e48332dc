"""The question to the person at the terminal."""

import os
import pty
import threading

import pytest

from rlm.commands.consent import TerminalConsent
from rlm.display import NoDisplay
from rlm.display.live import LiveDisplay


@pytest.fixture
def terminal(monkeypatch):
    controller, end = pty.openpty()
    with open(end, encoding="utf-8", closefd=True) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield controller
    os.close(controller)


@pytest.mark.parametrize(
    ("typed", "allowed"), [(b"y\n", True), (b"Yes\n", True), (b"\n", False), (b"yesterday\n", False), (b"\x04", False)]
)
def test_only_a_yes_is_a_yes(terminal, capsys, typed, allowed):
    os.write(terminal, typed)
    assert TerminalConsent(NoDisplay())(["lxml", "evil\x1b[2J"]) is allowed
    assert capsys.readouterr().err == "rlm: the model asks to install lxml, evil\\x1b[2J: allow it? [y/N]\n"


def test_a_question_can_be_withdrawn(terminal):
    answers: list[bool] = []
    consent = TerminalConsent(NoDisplay())
    asking = threading.Thread(target=lambda: answers.append(consent(["lxml"])))
    asking.start()
    consent.withdraw()
    asking.join(5)
    assert answers == [False]


def test_nobody_is_asked_without_a_terminal(monkeypatch):
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert not TerminalConsent.possible()


def test_the_live_display_makes_room_and_comes_back():
    display = LiveDisplay()
    with display.paused():
        pass
    display.close()
    with display.paused():
        pass
    assert not display._live.is_started
