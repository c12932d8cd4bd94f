"""Leaves of a stream, and the one order in which their sums are added.

A leaf is a run of samples of fixed size at a fixed place: samples i L .. (i + 1) L - 1 of the stream, whatever the
blocks, files and workers in which they come; the last one may be shorter.  Its sums are a function of its samples
alone.  Sums of leaves are added by one tree: a node adds the sums of `tunables.STREAM_NODE_PARTS` children from left to
right.  Hence any chunking, any order of arrival and any number of workers give the same bits.

Every fourth leaf is held out, in turn for one of `GROUPS` groups, each with a tree of its own: the moments of these
judge reg (`sslcore.fitting.held_moments`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .. import tunables
from ..solvers.sums import Sums

__all__ = ["GROUPS", "Node", "Parts", "Running", "Tree", "leaf_samples", "place_of"]

SHARE = 4
"""One leaf of so many is held out: a quarter of the samples, as in `sslcore.pretrain`."""

GROUPS = 5
"""Groups of leaves that are held out: products of different groups lose a fifth of all pairs, and each takes memory."""


def leaf_samples(n_views: int) -> int:
    """Return how many samples of so many views a leaf has."""
    return max(1, tunables.STREAM_LEAF_VIEWS // n_views)


def place_of(leaf: int) -> tuple[int, int]:
    """Return the part of a leaf (0: training, 1, 2, ...: the groups held out), and its number within this part."""
    turn, rest = divmod(leaf, SHARE)
    if rest == SHARE - 1:
        return 1 + turn % GROUPS, turn // GROUPS
    return 0, leaf - turn


def node_after(leaf: int) -> int:
    """Return the first leaf, not before this one, at which a node of the training part begins."""
    width, held = tunables.STREAM_NODE_PARTS, SHARE - 1
    place = -(-(leaf - leaf // SHARE) // width) * width
    return place + place // held


@dataclass
class Node:
    """Sums of the first ``count`` children of node ``index`` on this level; count 0: of a node that waits for others.

    Leaves are on level 0.
    """

    level: int
    index: int
    count: int
    sums: Sums


class Tree:
    """Sums of leaves, added in the order of their numbers whatever the order in which they come.

    The memory is that of one sum a level, as long as they come in order.  ``width`` is the number of children of a
    node, by default `tunables.STREAM_NODE_PARTS`.
    """

    def __init__(self, nodes: Iterable[Node] = (), width: int | None = None) -> None:
        self._width = tunables.STREAM_NODE_PARTS if width is None else width
        self._growing: dict[tuple[int, int], Node] = {}
        self._waiting: dict[tuple[int, int], Node] = {}
        for node in nodes:
            (self._growing if node.count else self._waiting)[node.level, node.index] = node

    def nodes(self) -> list[Node]:
        """Return all that is needed to go on."""
        return [*self._growing.values(), *self._waiting.values()]

    def add(self, index: int, sums: Sums) -> Sums | None:
        """Add the sums of leaf ``index``, which are the tree's from now on; return some that are done with, if any."""
        return self._give(Node(0, index, 0, sums))

    def _give(self, child: Node) -> Sums | None:
        """Hand a finished node to its parent; it waits there until those before it have come."""
        width, done = self._width, None
        self._waiting[child.level, child.index] = child
        above = child.level + 1, child.index // width
        node = self._growing.get(above)
        while True:
            count = node.count if node else 0
            after = self._waiting.pop((child.level, above[1] * width + count), None) if count < width else None
            if after is None:
                break
            if node is None:
                node = self._growing[above] = Node(*above, 1, after.sums)
            else:
                node.sums.add(after.sums)
                node.count += 1
                done = after.sums
        if node is not None and node.count == width:
            del self._growing[above]
            return self._give(replace(node, count=0)) or done
        return done

    def total(self) -> Sums | None:
        """Return the sums over all leaves so far, none of which waits for others; None if there are none."""
        assert not self._waiting
        total: Sums | None = None
        for _, node in sorted(self._growing.items()):  # the right edge of the tree, from below
            if total is None:
                total = node.sums.copied()
            else:
                above = node.sums.copied()
                above.add(total)
                total = above
        return total


class Running:
    """The running sum of leaves in the order in which they come: the memory of one."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self._sums = next((node.sums for node in nodes), None)

    def nodes(self) -> list[Node]:
        """Return all that is needed to go on."""
        return [] if self._sums is None else [Node(1, 0, 1, self._sums)]

    def add(self, index: int, sums: Sums) -> Sums | None:
        """Add the sums of a leaf, which are ours from now on; return them if they are done with."""
        if self._sums is None:
            self._sums = sums
            return None
        self._sums.add(sums)
        return sums

    def total(self) -> Sums | None:
        """Return the sums over all leaves so far; None if there are none."""
        return self._sums


class Parts:
    """The sums of the training part and of the groups held out, each in a `Tree`, or in the order of arrival.

    Where leaves depend on each other, ``hold_out`` is False, and all are in the training part.
    """

    def __init__(
        self,
        deterministic: bool,
        nodes: Iterable[tuple[int, Node]] = (),
        width: int | None = None,
        hold_out: bool = True,
    ) -> None:
        nodes, self._hold_out = list(nodes), hold_out
        of_parts = [[node for p, node in nodes if p == part] for part in range(1 + GROUPS)]
        self._sums = [Tree(some, width) if deterministic else Running(some) for some in of_parts]

    def nodes(self) -> list[tuple[int, Node]]:
        """Return all that is needed to go on, with the part of each."""
        return [(part, node) for part, sums in enumerate(self._sums) for node in sums.nodes()]

    def add(self, leaf: int, sums: Sums) -> Sums | None:
        """Add the sums of a leaf, which are ours from now on; return some that are done with, if any."""
        part, index = place_of(leaf) if self._hold_out else (0, leaf)
        return self._sums[part].add(index, sums)

    def totals(self) -> tuple[Sums, tuple[Sums, ...]]:
        """Return the sums of the training part, and of the groups that have any."""
        first, *groups = (sums.total() for sums in self._sums)
        assert first is not None  # the first leaf is in it
        return first, tuple(group for group in groups if group is not None)
