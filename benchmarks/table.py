"""What must be reached, and the table that says whether it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.measure import Comparison, Figures

__all__ = ["Below", "Faster", "Reach", "Row", "Told", "Within", "render"]

_MEGA = 1_000_000
_HEAD = ("work", "here", "peer", "ratio of wall times", "of CPU times", "reach", "met")


Found = Comparison | Figures


def _most_memory(found: Found) -> float:
    """Give the most memory that a run of ours took; that of figures is not known."""
    return max(c.rss for c in found.ours) if isinstance(found, Comparison) else float("inf")


@dataclass(frozen=True, slots=True)
class Faster:
    """At least so many times less wall time than the peer.

    Attributes
    ----------
    factor
        Of our wall time.
    disk
        Bytes of disk that must not be reached, or None.
    """

    factor: float
    disk: int | None = None

    def ratio(self, ours: float, peer: float) -> float:
        """Give how many times more the peer takes."""
        return peer / ours

    def is_met(self, found: Found) -> bool:
        """Say whether the medians keep to it."""
        if self.ratio(*found.judged) < self.factor:
            return False
        if self.disk is None:
            return True
        return isinstance(found, Comparison) and bool(found.disk) and found.disk[0] < self.disk

    def __str__(self) -> str:
        text = f"≥ {self.factor:g}x faster"
        if self.disk is not None:
            text += f", < {_mega(self.disk)} MB on disk"
        return text


@dataclass(frozen=True, slots=True)
class Within:
    """At most so many times the wall time of the peer, or its figure.

    Attributes
    ----------
    factor
        Of the peer's wall time or figure.
    plus
        Seconds that come on top.
    rss
        Bytes of resident memory that must not be reached, or None.
    """

    factor: float
    plus: float = 0
    rss: int | None = None

    def ratio(self, ours: float, peer: float) -> float:
        """Give how many times more we take."""
        return ours / peer

    def is_met(self, found: Found) -> bool:
        """Say whether the medians keep to it."""
        ours, peer = found.judged
        if ours > peer * self.factor + self.plus:
            return False
        return self.rss is None or _most_memory(found) < self.rss

    def __str__(self) -> str:
        text = f"≤ {self.factor:g}x"
        if self.plus:
            text += f" + {self.plus:g} s"
        if self.rss is not None:
            text += f", < {_mega(self.rss)} MB"
        return text


@dataclass(frozen=True, slots=True)
class Below:
    """Less memory than that, however long it takes.

    Attributes
    ----------
    rss
        Bytes of resident memory that must not be reached.
    """

    rss: int

    def ratio(self, ours: float, peer: float) -> float:
        """Give how many times more we take."""
        return ours / peer

    def is_met(self, found: Found) -> bool:
        """Say whether no run took more."""
        return _most_memory(found) < self.rss

    def __str__(self) -> str:
        return f"< {_mega(self.rss)} MB"


@dataclass(frozen=True, slots=True)
class Told:
    """Nothing: what is only told, for comparison."""

    def ratio(self, ours: float, peer: float) -> float:
        """Give how many times more we take."""
        return ours / peer

    def is_met(self, found: Found) -> None:
        """There is nothing to meet."""

    def __str__(self) -> str:
        return "-"


Reach = Below | Faster | Told | Within


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    work
        What was done.
    peer
        By whom else.
    reach
        What must be reached.
    found
        What was measured; None when it could not be.
    missing
        Why not.
    """

    work: str
    peer: str
    reach: Reach
    found: Found | None
    missing: str = "not installed"

    def cells(self, *, judged: bool) -> tuple[str, ...]:
        """Give the cells of the table's line."""
        found, reach = self.found, self.reach
        if found is None:
            return self.work, "", f"{self.peer}: {self.missing}", "", "", str(reach), "not run"
        ours, peer, cpu = _costs(found) if isinstance(found, Comparison) else _figures(found)
        met = reach.is_met(found) if judged else None
        pairs = sorted(reach.ratio(ratio, 1) for ratio in found.pair_ratios)
        return (
            self.work,
            ours,
            f"{self.peer}: {peer}",
            f"{_short(reach.ratio(*found.judged))} ({_short(pairs[0])} to {_short(pairs[-1])})",
            "-" if cpu is None else _short(reach.ratio(*cpu)),
            str(reach),
            "-" if met is None else "yes" if met else "NO",
        )


def _costs(found: Comparison) -> tuple[str, str, tuple[float, float]]:
    """Give what to say of each side, and their CPU times."""
    wall, cpu, rss = (found.median(q) for q in ("wall", "cpu", "rss"))
    disk = found.disk or (None, None)
    ours, peer = (_cost(wall[side], cpu[side], rss[side], disk[side]) for side in (0, 1))
    return ours, peer, cpu


def _figures(found: Figures) -> tuple[str, str, tuple[float, float] | None]:
    ours, peer = (f"{_short(figure)} {found.unit}" for figure in found.judged)
    if found.cpu:
        ours, peer = (f"{t}, CPU {_short(c)}" for t, c in zip((ours, peer), found.cpu, strict=True))
    return ours, peer, found.cpu


def _cost(wall: float, cpu: float, rss: float, disk: int | None) -> str:
    text = f"{_short(wall)} s, CPU {_short(cpu)}, {_mega(rss)} MB"
    return text if disk is None else f"{text}, {_mega(disk)} MB on disk"


def _mega(count: float) -> str:
    return f"{count / _MEGA:,.0f}"


def _short(number: float) -> str:
    return f"{number:.3f}" if number < 1 else f"{number:.2f}" if number < 10 else f"{number:.1f}"


def render(rows: Iterable[Row], *, judged: bool) -> Iterator[str]:
    """Give the lines of a Markdown table.

    Parameters
    ----------
    rows
        What was measured.
    judged
        Whether to say what is met: not for sizes that only show that it works.
    """
    lines = [_HEAD, *(row.cells(judged=judged) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for at, cells in enumerate(lines):
        yield "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"
        if at == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
