"""One identity for all spellings of a source, and no password in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.cache.urls import read_source, readable_name
from datalad_bidsshare.selection.errors import SelectionError
from tests.platforms import needs_posix, needs_symlinks

_ID = "01234567-0123-0123-0123-0123456789ab"

SAME = {
    "web": [
        "https://example.org/lab/ds",
        "https://example.org/lab/ds/",
        "https://example.org/lab/ds.git",
        "https://example.org/lab/ds.git/",
        "https://example.org/lab/ds/.git",
        "https://me@example.org/lab/ds",
        "https://me:secret@example.org/lab/ds",
        "HTTPS://Example.ORG/lab/ds",
        "https://example.org:443/lab/ds",
        "https://example.org./lab/ds",
        "https://example.org/lab/%64s",
    ],
    "ssh": [
        "ssh://example.org/data/ds",
        "ssh://me@example.org/data/ds",
        "ssh://example.org:22/data/ds/",
        "SSH://EXAMPLE.org/data/ds.git",
        "git+ssh://example.org/data/ds",
        "example.org:/data/ds",
        "me@example.org:/data/ds/.git",
    ],
    "home of a user": ["me@example.org:ds", "me@example.org:~/ds", "ssh://me@example.org/~/ds.git"],
    "forge": [
        "git@example.org:lab/ds.git",
        "ssh://git@example.org/lab/ds",
        "ssh://git@example.org:22/lab/ds.git",
    ],
    "store": [
        f"ria+https://example.org/store#{_ID}",
        f"ria+https://me:secret@example.org:443/store/#{_ID}@1.0",
        f"RIA+HTTPS://Example.org/store#{_ID}",
    ],
    "store by ssh": [
        f"ria+ssh://example.org/store#{_ID}",
        f"ria+ssh://me@example.org:22/store#{_ID}",
    ],
    "shortcut": ["///openneuro/ds1", "https://datasets.datalad.org/openneuro/ds1"],
}


@pytest.mark.parametrize("spellings", SAME.values(), ids=SAME)
def test_spellings_of_one_source_are_one_source(spellings: list[str]) -> None:
    assert len({read_source(s).key for s in spellings}) == 1
    assert len({readable_name(read_source(s)) for s in spellings}) == 1


def test_different_sources_differ() -> None:
    others = [
        "http://example.org/lab/ds",
        "https://example.org:8443/lab/ds",
        "https://example.org/Lab/ds",
        "https://example.org/lab/ds2",
        "https://example.com/lab/ds",
        "you@example.org:ds",
        "example.org:ds",
        "ssh://example.org:2222/data/ds",
        f"ria+https://example.org/store2#{_ID}",
        "ria+https://example.org/store#~ds",
        "ria+https://example.org/store#~ds2",
        "git://example.org/lab/ds",
    ]
    spellings = [*others, *(group[0] for group in SAME.values())]
    assert len({read_source(s).key for s in spellings}) == len(spellings)
    assert len({readable_name(read_source(s)) for s in spellings}) == len(spellings)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush%40hush@example.org/lab/ds",
        f"ria+http://me:hush%40hush@example.org/store#{_ID}@v1",
    ],
)
def test_a_password_is_in_nothing_but_the_secret(url: str) -> None:
    source = read_source(url)
    assert source.secret is not None
    assert (source.secret.user, source.secret.password) == ("me", "hush@hush")
    assert source.secret.server.endswith("://example.org")
    for text in (repr(source), str(source), source.url, source.key, source.shown):
        assert "hush" not in text
        assert "me:" not in text
    assert "hush" not in readable_name(source)


def test_a_token_in_the_place_of_the_user_is_no_part_of_the_url() -> None:
    source = read_source("https://ghp_token@example.org/lab/ds")
    assert source.secret is not None
    assert (source.secret.user, source.secret.password) == ("ghp_token", None)
    assert "ghp_token" not in repr(source)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a\0b",
        "https://example.org/a\nb",
        "/data/a\rb",
        "-u",
        "--upload-pack=touch x",
        "ext::sh -c 'touch x'",
        "fd::17",
        "datalad-annex::https://x",
        "s3://bucket/ds",
        "ftp://example.org/ds",
        "nonsense://example.org",
        "https://",
        "https:///path",
        "https://example.org/ds?token=hush",
        "https://example.org/ds#hush",
        "https://me:hush@[bad/ds",
        "https://example.org:port/ds",
        "https://me:hush@ex ample.org/ds",
        "ssh://me:hush@example.org/ds",
        "me:hush@example.org:ds",
        "ssh://-oProxyCommand=touch/ds",
        "-oProxyCommand=x:ds",
        "me@-x:ds",
        "example.org:-ds",
        "file://example.org/ds",
        "ria+https://me:hush@example.org/store",
        "ria+file:///store#ds",
        "ria+file:///store#~../x",
        "ria+file:///store#~a/b",
        f"ria+file:///store#{_ID}@--upload-pack=x",
        f"ria+file:///store#{_ID}0",
        5,
        None,
        ["https://example.org/ds"],
    ],
)
def test_what_is_no_source_is_refused_with_advice_and_without_a_password(text: Any) -> None:
    with pytest.raises(SelectionError) as caught:
        read_source(text)
    assert "next: " in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https:/me:hush@example.org/x", "https://USER:PASSWORD@example.org/x"),
        ("https:/me:hu@sh@example.org/x", "https://USER:PASSWORD@example.org/x"),
        ("http:me:hush@example.org/x", "http://USER:PASSWORD@example.org/x"),
        ("HTTP:me:hush@example.org:x", "http://USER:PASSWORD@example.org:x"),
        ("http//me:hush@example.org/x", "http://USER:PASSWORD@example.org/x"),
        ("https:/example.org/x", "https://example.org/x"),
        ("ssh:/example.org/x", "ssh://example.org/x"),
        ("ssh:me@example.org/x", "ssh://"),
        ("file:/data/x", "file:///data/x"),
        (f"ria+http:/me:hush@example.org/s#{_ID}", "ria+http://USER:PASSWORD@example.org/s#"),
        ("///me:hush@example.org", "https://USER:PASSWORD@example.org"),
        ("me:hush@example.org/x", "https://USER:PASSWORD@example.org/x"),
        ("./me:hush@example.org/x", "https://USER:PASSWORD@example.org/x"),
        ("htps:/me:hush@example.org/x", "https://USER:PASSWORD@example.org/x"),
        ("example.org:me:hush@x", "https://USER:PASSWORD@x"),
    ],
)
def test_a_mistyped_url_is_refused_with_what_was_meant_and_without_its_password(
    text: str, meant: str, tmp_path: Path
) -> None:
    with pytest.raises(SelectionError) as caught:
        read_source(text, tmp_path)
    assert meant in str(caught.value)
    assert "next: " in str(caught.value)
    assert "hu" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_hosts_and_paths_that_only_look_odd_are_sources(tmp_path: Path) -> None:
    (tmp_path / "a:b@c").mkdir()
    assert read_source("a:b@c", tmp_path).url == str(tmp_path / "a:b@c")
    assert read_source("git:data/x", tmp_path).url == "git:data/x"
    assert read_source("me@example.org:data/x@v1", tmp_path).url == "me@example.org:data/x@v1"


@needs_posix
def test_spellings_of_a_local_path_are_one_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "data ä#1"
    (place / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(tmp_path)
    spellings: list[Any] = [
        place,
        str(place),
        f"{place}/",
        f"{place}/.git",
        f"{place}/../data ä#1",
        "data ä#1",
        "./data ä#1/",
        "link",
        tmp_path / "link",
        f"file://{place}",
        f"file://localhost{place}",
        place.as_uri(),
        f"{place}.git",
    ]
    sources = [read_source(s) for s in spellings]
    assert {s.key for s in sources} == {f"file:{place}"}
    # so that the clone is the same, whichever spelling made it
    assert {s.url for s in sources} == {str(place)}
    assert re.fullmatch("data_1-[0-9a-f]{12}", readable_name(sources[0]))


def test_relative_paths_begin_where_the_caller_says(tmp_path: Path) -> None:
    assert read_source("a/b", tmp_path).key == read_source(tmp_path / "a" / "b").key


@needs_posix
def test_a_bare_repository_is_found_as_git_finds_it(tmp_path: Path) -> None:
    (tmp_path / "ds.git").mkdir()
    assert read_source(tmp_path / "ds").url == str(tmp_path / "ds.git")


@needs_posix
def test_what_is_there_is_a_path_also_with_a_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "host:ds").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_source("host:ds").url == str(tmp_path / "host:ds")
    assert read_source("other:ds").url == "other:ds"


def test_the_home_directory_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_source("~/ds").key == read_source(tmp_path / "ds").key


@needs_symlinks
def test_an_alias_in_a_store_is_the_dataset_that_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "alias").mkdir()
    (tmp_path / _ID[:3] / _ID[3:]).mkdir(parents=True)
    os.symlink(f"../{_ID[:3]}/{_ID[3:]}", tmp_path / "alias" / "ds")
    store = f"ria+{tmp_path.as_uri()}"
    by_alias, by_id = read_source(f"{store}#~ds@v1"), read_source(f"{store}#{_ID}")
    assert by_alias.key == by_id.key
    assert (by_alias.version, by_id.version) == ("v1", None)
    assert "@" not in by_alias.url


def test_a_scheme_that_git_was_told_of_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datalad

    config = tmp_path / "config"
    config.write_text('[url "https://example.org/"]\n\tinsteadOf = lab://\n')
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        datalad.cfg.reload(force=True)
        assert read_source("lab://ds").key == read_source("https://example.org/ds").key
    datalad.cfg.reload(force=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://example.org/../..", "dataset"),
        ("https://example.org/.hidden", "hidden"),
        ("https://example.org/a b$(x)", "a_b_x"),
        (f"https://example.org/{'a' * 300}", "a" * 40),
        ("ria+ssh://example.org/s#~alias", "alias"),
    ],
)
def test_names_of_directories_are_safe(text: str, name: str) -> None:
    assert re.fullmatch(f"{name}-[0-9a-f]{{12}}", readable_name(read_source(text)))
