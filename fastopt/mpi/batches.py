"""Sums of micro-batches in a fixed order: a binary tree over all of them, whose subtrees are added wherever they are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Node = tuple[int, int]  # Its first leaf, and the one after its last.
Arrays = list[np.ndarray]  # Gradients, an array for each dtype.


def children_of(node: Node) -> tuple[Node, Node]:
    """Return both halves of a node: the left one has the largest power of two of leaves that leaves some to the right one."""
    low, high = node
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    return (low, middle), (middle, high)


def subtrees(node: Node, low: int, high: int) -> Iterator[Node]:
    """Yield the largest nodes of a tree that lie within leaves `low` to `high`."""
    if low <= node[0] and node[1] <= high:
        yield node
    elif node[0] < high and low < node[1]:
        for child in children_of(node):
            yield from subtrees(child, low, high)


def left_sibling(root: Node, node: Node) -> Node | None:
    """Return the node that this one is added to, None for a left one and for the root."""
    while root != node:
        left, right = children_of(root)
        if node == right:
            return left
        root = left if node[1] <= left[1] else right
    return None


class TreeSum:
    """Sum over the leaves of a tree, of which subtrees are added in their order; the arrays of the sum are those of the first.

    Attributes
    ----------
    nodes : list of (Node, arrays)
        What could not be added to its left neighbour yet.
    """

    def __init__(self, count: int) -> None:
        self.root: Node = (0, count)
        self.nodes: list[tuple[Node, Arrays]] = []

    def add(self, node: Node, arrays: Arrays) -> list[Arrays]:
        """Add the sum of a subtree, which is overwritten later; return the arrays that are free again."""
        free = []
        self.nodes.append((node, arrays))
        while len(self.nodes) > 1 and left_sibling(self.root, self.nodes[-1][0]) == self.nodes[-2][0]:
            (left, total), (right, addends) = self.nodes[-2:]
            with np.errstate(all="ignore"):  # What is not finite is the optimizer's to judge.
                for a, b in zip(total, addends, strict=True):
                    np.add(a, b, out=a)
            self.nodes[-2:] = [((left[0], right[1]), total)]
            free.append(addends)
        return free


def shares(count: int, ranks: int) -> list[range]:
    """Return the micro-batches of each rank."""
    return [range(count * k // ranks, count * (k + 1) // ranks) for k in range(ranks)]


def subtrees_of(count: int, ranks: int) -> list[Sequence[Node]]:
    """Return the subtrees that each rank adds."""
    return [list(subtrees((0, count), share.start, share.stop)) if share else [] for share in shares(count, ranks)]
