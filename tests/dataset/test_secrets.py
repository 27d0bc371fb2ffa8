"""Passwords in the environment, as long as they are needed."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.explaining import is_disk_full, reason_of
from datalad_bidsshare.dataset.secrets import Secret, revealed, without_secrets

_SERVER = "https://example.org:8443"
_SECRET = Secret(_SERVER, "me", 'it\'s "a" $(touch x) `y` %s \\n ü')


def _asked(server: str = _SERVER) -> dict[str, str]:
    done = subprocess.run(
        ["git", "credential", "fill"],
        input=f"url={server}/lab/ds\n\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"},
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_git_knows_it_as_long_as_the_block_lasts() -> None:
    before = dict(os.environ)
    with revealed(_SECRET):
        found = _asked()
        assert (found["username"], found["password"]) == ("me", _SECRET.password)
        assert _asked("https://example.com").get("password") != _SECRET.password
    assert dict(os.environ) == before
    assert _asked().get("password") != _SECRET.password


def test_blocks_may_be_in_one_another() -> None:
    other = Secret("https://example.com", "you", "other")
    with revealed(_SECRET):
        with revealed(_SECRET), revealed(other):
            assert _asked()["username"] == "me"
            assert _asked("https://example.com")["password"] == "other"
        assert _asked()["password"] == _SECRET.password


def test_they_may_end_in_any_order() -> None:
    inner = threading.Event()
    outer = threading.Event()

    def use() -> None:
        with revealed(Secret("https://example.com", "you", "other")):
            inner.set()
            outer.wait()

    before = dict(os.environ)
    thread = threading.Thread(target=use)
    with revealed(_SECRET):
        thread.start()
        inner.wait()
    assert _asked("https://example.com")["password"] == "other"
    outer.set()
    thread.join()
    assert dict(os.environ) == before


def test_configuration_of_others_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "from outside")
    for _ in range(2):
        with revealed(_SECRET):
            assert _asked()["username"] == "me"
            said = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True)
            assert said.stdout == "from outside\n"
    assert os.environ["GIT_CONFIG_COUNT"] == "1"
    assert "GIT_CONFIG_KEY_1" not in os.environ


def test_a_user_without_a_password_is_named() -> None:
    with revealed(Secret(_SERVER, "token", None)):
        assert _asked()["username"] == "token"


def test_nothing_is_done_without_a_secret() -> None:
    before = dict(os.environ)
    with revealed(None):
        assert dict(os.environ) == before


def test_a_secret_does_not_show_itself() -> None:
    assert "me" not in repr(_SECRET)
    assert "touch" not in f"{_SECRET}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fatal: 'https://me:a@b@example.org/x' failed", "fatal: 'https://example.org/x' failed"),
        ("ria+http://token@h/s#~a", "ria+http://h/s#~a"),
        ("ssh://git@h/x", "ssh://git@h/x"),
        ("git@h:x and a/b@c", "git@h:x and a/b@c"),
        ("https:/me:p@w@h/x", "https:/***@h/x"),
        ("http:me:pw@h/x and 'me:pw@h'", "***@h/x and '***@h'"),
        ("ssh://me:pw@h/x", "ssh://***@h/x"),
        ("10:30 me@h, a: b@c, h:22/x", "10:30 me@h, a: b@c, h:22/x"),
        ("https://h/x me@y", "https://h/x me@y"),
    ],
)
def test_passwords_are_taken_out_of_messages(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


def test_what_git_says_becomes_one_line() -> None:
    said = (
        "'git fetch' failed in /x (exit code 128): warning: nothing\nfatal: unable to access "
        "'https://me:pw@h/x/': no\nfatal: unable to access 'https://me:pw@h/x/': no. Run 'git "
        "fsck' there to see if the repository is damaged"
    )
    assert reason_of(said) == "unable to access 'https://h/x/': no"
    assert reason_of("one\n two\n") == "one two"


def test_what_datalad_shows_of_git_has_no_quotes_left() -> None:
    said = (
        "Failed to clone from any candidate source URL. Encountered errors per each url were:\n"
        "- http://h/x\n  CommandError: 'git clone' failed with exitcode 128 [err: 'Cloning into "
        "'/y'...\nfatal: unable to access 'http://h/x/': no server']\n"
        "- http://h/x/.git\n  CommandError: 'git clone' failed [out: 'a'] [err: 'fatal: no "
        "server']"
    )
    assert reason_of(said) == "unable to access 'http://h/x/': no server; no server"
    assert reason_of("fatal: ['a', 'b']") == "['a', 'b']"


@pytest.mark.parametrize(
    "said",
    [
        "fatal: write error: No space left on device",
        "error: Disk quota exceeded",
        "error: Failure writing output to destination (curl_result = 23, http_code = 200)",
    ],
)
def test_a_full_disk_is_known_by_what_is_said(said: str, tmp_path: Path) -> None:
    assert is_disk_full(said, tmp_path)
    assert is_disk_full(said)
    assert not is_disk_full("fatal: unable to write file x", tmp_path)
    assert not is_disk_full("fatal: repository 'x' not found", tmp_path)


def test_nothing_said_is_no_reason() -> None:
    assert reason_of("") == ""
