"""What is to be done for every selected file: from names, the ledger and the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from datalad_bidsshare.dataset.blobs import FileInfo, describe_with_content, read_blobs
from datalad_bidsshare.dataset.checksums import checksum_of_key
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import LARGEST_POINTER
from datalad_bidsshare.dataset.links import LinkError, resolve_link
from datalad_bidsshare.dataset.listing import Entry, decode
from datalad_bidsshare.dataset.sources import Sources
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.export.items import Item, Part, Recipe, Settled
from datalad_bidsshare.export.ledger import Ledger
from datalad_bidsshare.export.planned import Planned
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.standing_content import digest_of
from datalad_bidsshare.export.target import Standing, Target
from datalad_bidsshare.export.timestamps import is_same_file

__all__ = ["Survey"]

#: Characters of a link that a message repeats.
_SHOWN = 200

_WORDS = {
    "directory": "a directory",
    "link": "a symbolic link (itself, or on the way to it)",
    "other": "a special file",
}


_NO_FILES: Mapping[str, tuple[int, int]] = {}


@dataclass(frozen=True, slots=True)
class _Open:
    """A file that the ledger alone does not settle."""

    path: str
    target: str
    entry: Entry
    standing: Standing | None


class Survey:
    """Goes through the selected files of an export.

    Parameters
    ----------
    request
        What is wanted.
    target
        The destination; None for an archive, which starts from nothing.
    ledger
        What earlier exports wrote there.
    recipes
        By target path: files whose content is changed on the way.
    unfit
        By target path: why a file cannot be exported under its name.
    recorder
        Counts files that are as they were, once it makes no records of them.
    opaque
        Makes the source of a file that is changed on the way unknowable for who receives it: it
        is a hash of what is held back too.
    planned
        What exports that did not end were to make.
    """

    def __init__(
        self,
        request: ExportRequest,
        target: Target | None,
        ledger: Ledger,
        recipes: Mapping[str, Recipe],
        unfit: Mapping[str, str],
        recorder: ExportRecorder,
        opaque: Callable[[str], str],
        planned: Planned,
    ) -> None:
        self._request = request
        self._target = target
        self._ledger = ledger
        self._recipes = recipes
        self._unfit = unfit
        self._recorder = recorder
        self._opaque = opaque
        self._planned = planned

    def of(self, part: Part) -> Iterator[Settled | Item]:
        """Give what is to be done for the files of one dataset, in the order of their names.

        Links come last. Nothing is held but a few thousand files at a time.
        """
        links: list[tuple[_Open, bytes]] = []
        work_tree = part.choice.visit.commit is None and self._request.verify
        sources = Sources(part.root, work_tree=work_tree)
        opened: list[_Open] = []
        for found in self._by_ledger(part):
            if isinstance(found, Settled):
                yield found
                continue
            opened.append(found)
            if len(opened) >= 10_000:
                yield from self._by_content(part, sources, opened, links)
                opened = []
        yield from self._by_content(part, sources, opened, links)
        if links:
            yield from self._through_links(part, sources, links)

    def _by_ledger(self, part: Part) -> Iterator[Settled | _Open]:
        """Settle what stands at the destination as it was written, and what cannot be written."""
        choice, index = part.choice, part.choice.visit.index
        line_of, recipes, unfit = self._ledger.line, self._recipes, self._unfit
        recheck = self._request.checksum
        prefix = part.prefix
        # In order, as an index always is, so that directories are looked into once.
        paths = sorted([*choice.asked, *choice.riding]) if choice.riding else choice.asked
        last, files = None, _NO_FILES
        slot, recorder = self._recorder.slot, self._recorder
        # Nearly all files of a second run leave this loop in its upper half: it is kept lean.
        for path, source_id in zip(paths, index.ids(paths), strict=True):
            target = prefix + path
            if target in unfit:
                if unfit[target]:
                    yield Settled(part, path, target, "impossible", unfit[target], None, None)
                continue
            changed = target in recipes
            if changed:
                source_id = self._opaque(source_id)
            directory, _, name = target.rpartition("/")
            if directory != last:
                last, files = directory, self._files_in(directory)
            found = files.get(name)
            if (
                found is not None
                and not recheck
                and (line := line_of(target)) is not None
                and line.startswith(f"{found[0]}\t{found[1]}\t{source_id}\t")
                # It ends with key and recipe, which is none most of the time.
                and line.endswith(f"\t{recipes[target].digest}" if changed else "\t")
                # What is changed on the way has no key there, and its record should.
                and not (changed and (slot is None or not slot.unseen))
            ):
                if slot is not None and slot.unseen:
                    recorder.tally.add("unchanged", found[0])
                    continue
                key = line.split("\t", 5)[4] or None
                yield Settled(part, path, target, "notneeded", "", found[0], key)
                continue
            yield _Open(path, target, index[path], self._standing(target))

    def _files_in(self, directory: str) -> Mapping[str, tuple[int, int]]:
        return self._target.scan(directory) if self._target is not None else _NO_FILES

    def _standing(self, target: str) -> Standing | None:
        return self._target.standing(target) if self._target is not None else None

    def _by_content(
        self,
        part: Part,
        sources: Sources,
        opened: list[_Open],
        links: list[tuple[_Open, bytes]],
    ) -> Iterator[Settled | Item]:
        """Look at what git has of the files: two processes."""
        if not opened:
            return
        told = describe_with_content(part.root, (o.entry for o in opened))
        given = 0
        try:
            for one, (info, content) in zip(opened, told, strict=True):
                if info.kind == "symlink":
                    links.append((one, content or b""))
                else:
                    source_id = f"{one.entry.mode} {one.entry.oid}"
                    if one.target in self._recipes:
                        source_id = self._opaque(source_id)
                    yield self._item(part, sources, one, info, content, source_id)
                given += 1
        except DatasetError as error:
            yield from _not_told(part, opened[given:], error)

    def _through_links(
        self, part: Part, sources: Sources, links: list[tuple[_Open, bytes]]
    ) -> Iterator[Settled | Item]:
        """Follow links that lead to another tracked file, and no others."""
        index = part.choice.visit.index
        texts = _LinkTexts(part, {one.path: decode(content) for one, content in links})
        ends: list[tuple[_Open, str]] = []
        # As many rounds as links lead to links.
        while links:
            waiting = []
            for one, link in links:
                try:
                    ends.append((one, resolve_link(one.path, index, texts.read)))
                except _UnreadLink:
                    waiting.append((one, link))
                except LinkError as error:
                    text = link.decode("utf-8", "backslashreplace")
                    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
                    yield Settled(
                        part,
                        one.path,
                        one.target,
                        "impossible",
                        f"symbolic link to {text!r}, not followed: {error}. Only links to tracked "
                        "files are followed; leave it out with --exclude",
                        None,
                        None,
                    )
            try:
                texts.learn()
            except DatasetError as error:
                yield from _not_told(part, [one for one, _ in waiting], error)
                break
            links = waiting
        told = describe_with_content(part.root, index.entries(end for _, end in ends))
        given = 0
        try:
            for (one, end), (info, content) in zip(ends, told, strict=True):
                # What a link stands for changes with the file it leads to.
                source_id = f"{one.entry.oid}>{info.mode} {info.oid}"
                if one.target in self._recipes:
                    source_id = self._opaque(source_id)
                if is_internal(end):
                    message = f"symbolic link to {end}, which is not exported"
                    yield Settled(part, one.path, one.target, "impossible", message, None, None)
                else:
                    yield self._item(part, sources, one, info, content, source_id)
                given += 1
        except DatasetError as error:
            yield from _not_told(part, [one for one, _ in ends[given:]], error)

    def _item(
        self,
        part: Part,
        sources: Sources,
        one: _Open,
        info: FileInfo,
        content: bytes | None,
        source_id: str,
    ) -> Settled | Item:
        request = self._request
        item = Item(part, one.path, one.target, info, source_id, "git", content)
        item.recipe = self._recipes.get(one.target)
        if info.kind == "annex":
            item.how, item.source = sources.find(info)
        standing = one.standing
        if standing is None:
            return item
        if standing.kind != "file" and not (request.force and standing.kind == "link"):
            return self._refused(item, f"cannot be written: {_WORDS[standing.kind]} stands")
        found = (standing.size, standing.mtime_ns)
        known = self._ledger.get(one.target)
        item.standing = found
        if known is None or not is_same_file(found, (known.size, known.mtime_ns)):
            item.unlisted = True
            item.ours = known is None and self._planned.holds(one.target, found)
        else:
            checksum = checksum_of_key(info.key) if info.key else None
            same = known.recipe == (item.recipe.digest if item.recipe else "") and (
                known.source == source_id
                # The link moved, or the file was unlocked: its content is the same.
                or (
                    checksum == (known.algorithm, known.digest)
                    and known.source.partition(" ")[0] in ("100644", "120000")
                    and not item.is_executable
                )
            )
            if request.checksum:
                # What is outdated is compared with what was written, all else with what would be.
                if same or digest_of(request.dest, one.target, known.algorithm) != known.digest:
                    item.rechecked = item.unlisted = True
            elif same:
                if (known.source, known.mtime_ns) != (source_id, found[1]):
                    renewed = known._replace(source=source_id, mtime_ns=found[1])
                    self._ledger.put(one.target, renewed)
                return self._settled(item, "notneeded")
        if request.existing == "skip":
            return self._settled(item, "notneeded", "exists; left as it is")
        if request.existing == "error" and not item.unlisted:
            return self._refused(item, "exists already")
        if item.how == "fetch" and item.unlisted and self._key_suffices(item):
            # A file without a name: nothing is read from there.
            item.how, item.source = "standing", (part.name, "")
        return item

    def _key_suffices(self, item: Item) -> bool:
        """Tell whether a file that stands there will not be replaced, be it right or wrong."""
        request = self._request
        checksum = checksum_of_key(item.info.key) if item.info.key else None
        if checksum is None or item.recipe is not None:
            return False
        if not (item.ours or (request.force and request.existing == "update")):
            return True
        return digest_of(request.dest, item.target, checksum.algorithm) == checksum.digest

    def _refused(self, item: Item, why: str) -> Settled:
        return self._settled(item, "error", f"{why} at the destination; it was left as it is")

    def _settled(self, item: Item, status: str, message: str = "") -> Settled:
        size = item.info.bytesize
        if status == "notneeded" and item.standing is not None:
            # What is there may be less than what the key is of.
            size = item.standing[0]
        return Settled(item.part, item.path, item.target, status, message, size, item.info.key)


def _not_told(part: Part, files: Iterable[_Open], error: DatasetError) -> Iterator[Settled]:
    """Settle files of which git could not tell what they are."""
    for one in files:
        yield Settled(part, one.path, one.target, "error", str(error), None, None)


class _UnreadLink(Exception):
    """A link whose target is not known yet."""


class _LinkTexts:
    """The targets of the tracked links of one dataset that somebody asked for."""

    def __init__(self, part: Part, known: dict[str, str]) -> None:
        self._part = part
        self._texts = known
        self._asked: dict[str, None] = {}

    def read(self, path: str) -> str:
        """Give the target of a link, or remember that it is asked for."""
        text = self._texts.get(path)
        if text is None:
            self._asked[path] = None
            raise _UnreadLink
        return text

    def learn(self) -> None:
        """Read all that was asked for: one process."""
        asked = list(self._part.choice.visit.index.entries(self._asked))
        self._asked.clear()
        contents = read_blobs(self._part.root, (e.oid for e in asked), LARGEST_POINTER)
        for entry, (_, content) in zip(asked, contents, strict=True):
            # What is longer than any path leads nowhere.
            self._texts[entry.path] = decode(content or b"")
