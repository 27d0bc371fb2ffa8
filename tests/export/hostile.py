"""A real git-annex dataset that does what it can to get other files than its own exported."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from tests.dataset.builders import HOSTILE_NAMES, add_link, git, objects_of

__all__ = ["Hostile", "hostile_dataset"]


def _marker(what: str) -> bytes:
    """Give bytes that are found again wherever they end up."""
    return f"SECRET-{what}-3f9ac1d7".encode()


@dataclass
class Hostile:
    """What `hostile_dataset` made. Names are decoded as the package does it.

    Attributes
    ----------
    root
        The dataset. Everything is committed, at HEAD.
    secret
        A file beside it, which the links `../secret` mean.
    markers
        Bytes of which none may be anywhere in an export, with what each would tell.
    annexed, plain
        What annex and git keep and an export holds: names and contents.
    links
        Tracked links to another tracked file in the dataset: names and where they end.
    refused
        Tracked links that lead nowhere, out, into `.git`, or to a directory: names and targets.
    absent
        What looks annexed, and has no object in the dataset that may be read: names and keys.
    corrupt
        Annexed files whose object has other bytes than its key says: names and keys.
    unverifiable
        Those of `annexed` whose key has no checksum (WORM, URL): names and keys.
    internal
        Tracked files that belong to git, DataLad, or ourselves.
    untracked
        Names in the work tree that git does not track: a FIFO and a file.
    collisions
        Groups of names that are one on a file system that ignores case or normalizes.
    old_commit
        The commit in which two of the files had secret content.
    """

    root: Path
    secret: Path
    markers: dict[bytes, str] = field(default_factory=dict)
    annexed: dict[str, bytes] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    corrupt: dict[str, str] = field(default_factory=dict)
    unverifiable: dict[str, str] = field(default_factory=dict)
    internal: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    collisions: list[tuple[str, ...]] = field(default_factory=list)
    old_commit: str = ""

    def mark(self, what: str) -> bytes:
        """Give a new marker."""
        marker = _marker(what)
        self.markers[marker] = what
        return marker

    def tracked(self) -> set[str]:
        """Give the names of all that HEAD holds."""
        kinds = (self.annexed, self.plain, self.links, self.refused, self.absent, self.corrupt)
        return {*self.internal, *(name for kind in kinds for name in kind)}

    def found_in(self, directory: Path) -> list[tuple[str, str]]:
        """Tell which secrets are in the names or contents below a directory."""
        found = []
        for base, directories, files in os.walk(os.fsencode(directory)):
            for name in directories + files:
                path = os.path.join(base, name)
                content = os.fsencode(name)
                if os.path.islink(path):
                    content += b"\n" + os.readlink(path)
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        content += b"\n" + file.read()
                where = os.fsdecode(path)
                found += [(what, where) for m, what in self.markers.items() if m in content]
        return found


def hostile_dataset(root: Path) -> Hostile:
    """Make it; needs symbolic links, FIFOs, and names of any bytes (`needs_posix_names`).

    Parameters
    ----------
    root
        Must not exist. Something is also made beside it: `secret` and `elsewhere`.
    """
    made = Hostile(root, root.parent / "secret")
    root.mkdir(parents=True)
    made.secret.write_bytes(made.mark("beside the dataset") + b"\n")
    git(root, "init", "-q")
    git(root, "annex", "init", "-q", made.mark("description of the repository").decode())
    git(root, "config", "annex.backend", "SHA256E")
    git(root, "config", "bidsshare.test", made.mark("git config").decode())
    _add_history(made)
    _add_files(made)
    _add_internal(made)
    _add_unverifiable(made)
    _commit(root, "content")
    _unlock(made)
    _add_links(made)
    _add_fake_annexed(made)
    _commit(root, "links")
    _corrupt(made)
    _disturb_work_tree(made)
    return made


def _commit(root: Path, message: str) -> None:
    # Past the hook of git-annex, which would put links right.
    git(root, "commit", "-q", "--no-verify", "-m", message)


def _write(root: Path, name: str, content: bytes) -> None:
    path = os.path.join(os.fsencode(root), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "wb") as file:
        file.write(content)


def _annex(made: Hostile, files: dict[str, bytes], *options: str) -> None:
    for name, content in files.items():
        _write(made.root, name, content)
    names = b"".join(os.fsencode(name) + b"\0" for name in files)
    git(made.root, "annex", "add", "-q", "--force-large", *options, "--batch", "-z", text=names)
    made.annexed.update(files)


def _keep_in_git(made: Hostile, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        _write(made.root, name, content)
    git(made.root, "-c", "annex.largefiles=nothing", "add", "-f", "--", *map(os.fsencode, files))


def _key(root: Path, name: str) -> str:
    return git(root, "annex", "lookupkey", os.fsencode(name)).strip()


def _add_history(made: Hostile) -> None:
    """Commit what was secret; later commits have other content under the names."""
    _annex(made, {"sub-01/sub-01_T1w.nii.gz": made.mark("older annexed version") * 50})
    _keep_in_git(made, {"sub-01/sub-01_T1w.json": b'{"a": "%b"}' % made.mark("older version")})
    _annex(made, {"removed.nii.gz": made.mark("removed annexed file") * 50})
    _commit(made.root, "what should not have been committed")
    made.old_commit = git(made.root, "rev-parse", "HEAD").strip()
    git(made.root, "rm", "-q", "-f", "removed.nii.gz")
    del made.annexed["removed.nii.gz"]


def _add_files(made: Hostile) -> None:
    annexed = {
        "sub-01/sub-01_T1w.nii.gz": b"T1w" * 1000,
        "sub-01/unlocked.nii.gz": b"unlocked" * 500,
        "sub-01/swapped.nii.gz": b"swapped" * 500,
        "sub-02/large_bold.nii": b"bold" * 700_000,
        **{n.decode("utf-8", "surrogateescape"): b"content of " + n for n in HOSTILE_NAMES},
    }
    _annex(made, annexed)
    nfc, nfd = (unicodedata.normalize(form, "twin-\u00e9.txt") for form in ("NFC", "NFD"))
    made.plain = {
        "dataset_description.json": b'{"Name": "hostile", "BIDSVersion": "1.9.0"}\n',
        "README": b"A dataset that does what it can.\n",
        "participants.tsv": b"participant_id\tage\nsub-01\t30\nsub-02\t40\n",
        "sub-01/sub-01_T1w.json": b"{}\n",
        "sub-01/empty.tsv": b"",
        "A.txt": b"capital",
        "a.txt": b"small",
        "Folder": b"a file",
        "folder/inner.txt": b"a file in a directory",
        nfc: b"composed",
        nfd: b"decomposed",
        "piped.tsv": b"in the work tree, this is a FIFO\n",
        "not-a-pointer.txt": b"/annex/objects/",
    }
    _keep_in_git(made, made.plain)
    made.collisions = [("A.txt", "a.txt"), ("Folder", "folder/inner.txt"), (nfc, nfd)]


def _add_internal(made: Hostile) -> None:
    address = b"https://user:%b@example.org/x" % made.mark("password in .gitmodules")
    internal = {
        ".datalad/config": b'[datalad "dataset"]\n\tid = 0b8a3d2e-6d8c-4f6f-9d57-2d3f5d3b9f10\n'
        b"\ttoken = %b\n" % made.mark("DataLad's config"),
        ".gitattributes": b"# %b\n" % made.mark("attributes of git"),
        "sub-01/.gitattributes": b"# %b\n" % made.mark("attributes of git, deeper"),
        ".gitignore": b"# %b\n" % made.mark("ignored names"),
        ".gitmodules": b'[submodule "gone"]\n\tpath = gone\n\turl = %b\n' % address,
        ".bidsshare/x": made.mark("what pretends to be our own"),
    }
    _keep_in_git(made, internal)
    made.internal = list(internal)


def _add_unverifiable(made: Hostile) -> None:
    """Annexed files, of which the key has no checksum but tells a name, or an address."""
    name = made.mark("name in a WORM key").decode()
    _annex(made, {f"{name}.nii": b"WORM" * 100}, "--backend=WORM")
    git(made.root, "mv", "--", f"{name}.nii", "worm.nii")
    made.annexed["worm.nii"] = made.annexed.pop(f"{name}.nii")
    key = "URL--https://example.org/x?token=" + made.mark("token in a URL key").decode()
    content = made.root.parent / "content"
    made.annexed["url.nii"] = b"URL" * 100
    content.write_bytes(made.annexed["url.nii"])
    git(made.root, "annex", "fromkey", "-q", "--force", key, "url.nii")
    git(made.root, "annex", "setkey", "-q", key, str(content))
    made.unverifiable = {n: _key(made.root, n) for n in ("worm.nii", "url.nii")}


def _unlock(made: Hostile) -> None:
    names = ["sub-01/unlocked.nii.gz", "sub-01/swapped.nii.gz"]
    git(made.root, "annex", "unlock", "-q", *names)
    git(made.root, "add", "--", *names)
    _commit(made.root, "unlock")


def add_links(root: Path, targets: dict[str, str]) -> None:
    """Do for many links what `add_link` does for one, with three processes."""
    texts = root.parent / "texts"
    texts.mkdir()
    for number, target in enumerate(targets.values()):
        (texts / str(number)).write_text(target)
    paths = "".join(f"{texts / str(number)}\n" for number in range(len(targets)))
    oids = git(root, "hash-object", "-w", "--no-filters", "--stdin-paths", text=paths.encode())
    lines = (f"120000 {oid}\t{name}\0" for oid, name in zip(oids.split(), targets, strict=True))
    git(root, "update-index", "-z", "--index-info", text="".join(lines).encode())
    git(root, "checkout", "-q", "--", *targets)
    shutil.rmtree(texts)


def _add_links(made: Hostile) -> None:
    root = made.root
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "x.txt").write_bytes(made.mark("directory beside the dataset"))
    (root / ".git" / "x").write_bytes(made.mark("file in .git"))
    passwd = Path("/etc/passwd")
    if passwd.is_file():
        made.markers[passwd.read_bytes().splitlines()[0]] = "/etc/passwd"
    made.refused = {
        "to-passwd": "/etc/passwd",
        "to-secret": "../secret",
        "sub-01/to-secret": "../../secret",
        "sub-01/to-secret-by-way-of-root": f"{root}/../secret",
        "to-git-config": ".git/config",
        "sub-01/to-git-config": "../.git/config",
        "to-git-by-another-name": ".GIT/config",
        "to-itself-by-its-full-path": str(root / "README"),
        "round-about": f"../{root.name}/README",
        "to-environ": "/proc/self/environ",
        "to-a-device": "/dev/zero",
        "to-directory": "sub-01",
        "to-root": ".",
        "to-directory-outside": "../outside",
        "through-directory-outside": "to-directory-outside/x.txt",
        "loop-1": "loop-2",
        "loop-2": "loop-1",
        "loop-self": "loop-self",
        "dangling": "nowhere.txt",
        "dangling-beneath-a-file": "README/x",
        "to-untracked": "untracked.txt",
        "to-fifo": "fifo",
        "chain-to-secret": "sub-01/to-secret",
        # What looks like git-annex's
        "fake-climbing": ".git/annex/objects/../../x",
        "fake-climbing-out": ".git/annex/objects/../../../../secret",
        "sub-01/fake-no-key": "../.git/annex/objects/aa/bb/x/x",
    }
    links = {
        "link-to-annexed": ("sub-01/sub-01_T1w.nii.gz", "sub-01/sub-01_T1w.nii.gz"),
        "link-to-plain": ("sub-01/sub-01_T1w.json", "sub-01/sub-01_T1w.json"),
        "link-to-unlocked": ("./sub-01//unlocked.nii.gz", "sub-01/unlocked.nii.gz"),
        "chain-1": ("sub-02/chain-2", "sub-01/sub-01_T1w.nii.gz"),
        "sub-02/chain-2": ("../chain-3", "sub-01/sub-01_T1w.nii.gz"),
        "chain-3": ("sub-01/sub-01_T1w.nii.gz", "sub-01/sub-01_T1w.nii.gz"),
        "plain-chain-1": ("plain-chain-2", "README"),
        "plain-chain-2": ("sub-01/../README", "README"),
        "through-directory": ("to-directory/sub-01_T1w.json", "sub-01/sub-01_T1w.json"),
        "through-directory-to-annexed": (
            "to-root/to-directory/sub-01_T1w.nii.gz",
            "sub-01/sub-01_T1w.nii.gz",
        ),
    }
    add_links(root, made.refused | {name: target for name, (target, _) in links.items()})
    made.links = {name: end for name, (_, end) in links.items()}


def _add_fake_annexed(made: Hostile) -> None:
    """Commit what git-annex takes for its own, with objects that are not in the annex."""
    root = made.root
    # A link as git-annex writes it, but into the annex of somebody else, who has the object.
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    content = made.mark("object in another annex") * 10
    key = _key_of_content(root, content)
    directory = elsewhere / ".git" / "annex" / "objects" / "aa" / "bb" / key
    directory.mkdir(parents=True)
    (directory / key).write_bytes(content)
    name = "sub-01/object-elsewhere.nii.gz"
    add_link(root, name, f"../../elsewhere/.git/annex/objects/aa/bb/{key}/{key}")
    made.absent[name] = key
    # Good links and good keys; but the object, or its directory, is a link that leads out.
    for name, link_directory in (("object-is-link.nii", False), ("directory-is-link.nii", True)):
        content = made.mark(name) * 10
        kept = dict(made.annexed)
        _annex(made, {name: content})
        made.annexed = kept
        made.absent[name] = key = _key(root, name)
        (place,) = objects_of(root, key)
        outside = root.parent / "elsewhere" / key
        if link_directory:
            place.parent.rename(outside)
            place.parent.symlink_to(outside)
        else:
            place.rename(outside)
            place.symlink_to(outside)
    # A pointer that no content is here for, whose text must not be taken for it.
    name = "unlocked-absent.nii"
    made.absent[name] = key = _key_of_content(root, b"of nobody")
    pointer = f"/annex/objects/{key}\n".encode()
    oid = git(root, "hash-object", "-w", "--stdin", text=pointer).strip()
    git(root, "update-index", "--add", "--cacheinfo", f"100644,{oid},{name}")
    _write(root, name, pointer)
    made.markers[pointer] = "a pointer"


def _key_of_content(root: Path, content: bytes) -> str:
    file = root.parent / "elsewhere" / "content.nii"
    file.write_bytes(content)
    key = git(root, "annex", "calckey", "--backend=SHA256E", str(file)).strip()
    file.unlink()
    return key


def _corrupt(made: Hostile) -> None:
    """Damage objects behind git-annex's back: one bit, the end, one byte more."""
    contents = {f"corrupt-{what}.nii": what.encode() * 400 for what in ("bit", "short", "long")}
    kept = dict(made.annexed)
    _annex(made, contents)
    made.annexed = kept
    _commit(made.root, "corrupt")
    for name, content in contents.items():
        made.corrupt[name] = key = _key(made.root, name)
        (place,) = objects_of(made.root, key)
        damaged = {"bit": b"B" + content[1:], "short": content[:-1], "long": content + b"x"}
        place.write_bytes(damaged[name[len("corrupt-") : -len(".nii")]])


def _disturb_work_tree(made: Hostile) -> None:
    """Put other things into the work tree than git tracks there."""
    root = made.root
    os.mkfifo(root / "fifo")
    (root / "untracked.txt").write_bytes(made.mark("untracked file"))
    made.untracked = ["fifo", "untracked.txt"]
    (root / "piped.tsv").unlink()
    os.mkfifo(root / "piped.tsv")
    (root / "README").write_bytes(made.mark("uncommitted change") + b"\n")
    swapped = root / "sub-01" / "swapped.nii.gz"
    swapped.unlink()
    swapped.symlink_to("../../secret")
