"""Laws of tables, whose columns are variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import ArrayLike, as_array, as_entries, on_host
from ..declarations.parameters import converted, probability
from ._base import Augmentation, Stage

__all__ = ["Corrupt"]

_MOST_ROWS = 2**16  # of a table: enough for the law of a column within 0.4 %, and copied to a GPU in no time
_MOST_ENTRIES = 2**24  # 128 MiB: of more than 256 columns fewer rows


def _as_table(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    table = np.array(on_host(as_array(value, name, ndim=2, shape_hint="(rows, d)")), dtype=np.float64, order="C")
    return table


def refuse_table(law: Augmentation | None) -> None:
    """Refuse a law that draws, itself or in a part, from a table of its own, where samples are standardised."""
    if getattr(law, "table", None) is not None:
        raise ValueError(
            "X is standardised and the table of Corrupt is not; give Corrupt(p) without a table, or standardise X "
            "before and set standardize=False"
        )
    for part in getattr(law, "parts", ()):
        refuse_table(part)


@dataclass(frozen=True, eq=False, repr=False)
class Corrupt(Augmentation):
    """Entries replaced by others of their column: ``xi_j = X_(r_j, j)`` with probability p, else ``x_j``.

    The rows r_j are independent and uniform: what is drawn follows the empirical law of the column, and the columns are
    drawn independently of each other.  On functions of one column j, ``A f = (1 - p) f + p mean f(X_j)``; on a product
    of functions of columns S, of mean 0 over the table each, A has the eigenvalue ``(1 - p)^|S|``.

    **Where the columns come from.**  The law needs a table, the same one for all blocks and streams of the data:
    ``Corrupt(p).fitted(x)`` has that of x.  `sslcore.Views`, ``sslcore fit`` and `sslcore.SSLEmbedding` fit a law
    without one to the samples that they are given (``partial_fit``: to the first part); elsewhere one without a table
    is refused.  At most 65,536 rows, and 2^24 entries, are kept, equally far apart.

    Entry j is drawn anew if its word w, as in :class:`BitFlip`, is less than ``round(2^32 p)``; its row is
    ``floor(v n / 2^32)`` of n, with the word v of the same lane of draw block ``B + j % B``, ``B = ceil(d / 4)``.

    Parameters
    ----------
    p : float
        Probability for each entry, used to 2^-33; in [0, 1].
    table : array (rows, d), optional
        The columns to draw from; by default those of the data that the law is fitted to.

    Raises
    ------
    ValueError
        When views are made without a table, or of samples of another number of coordinates.

    References
    ----------
    Bahri, Jiang, Tay and Metzler, *SCARF: self-supervised contrastive learning using random feature corruption*,
    ICLR 2022, arXiv:2106.15147 (0.6 of the entries of one of two views).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Corrupt
    >>> x = np.column_stack([np.arange(100.0), 1000 + np.arange(100.0)])
    >>> law = Corrupt(0.6).fitted(x)
    >>> law
    Corrupt(p=0.6, table: (100, 2) float64)
    >>> xi = law.views(x, 50, seed=0)
    >>> bool(np.isin(xi[..., 0], x[:, 0]).all()), bool(abs((xi != x[:, None]).mean() - 0.6 * 0.99) < 0.02)
    (True, True)
    """

    p: float = probability("probability for each entry, used to 2^-33")
    table: np.ndarray | None = converted("the columns to draw from", _as_table, default=None)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Corrupt)
        if self.table is None or other.table is None:
            return self.p == other.p and self.table is other.table
        return self.p == other.p and np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.p, None if self.table is None else self.table.shape))

    def fitted(self, x: ArrayLike) -> Corrupt:
        if self.table is not None:
            return self
        rows = as_entries(x, "x")
        most = max(1, min(_MOST_ROWS, _MOST_ENTRIES // max(1, rows.shape[-1])))
        step = -(-len(rows) // most) if rows.ndim == 2 and len(rows) else 1
        return type(self)(self.p, rows[::step])

    def stages(self) -> tuple[Stage, ...]:
        table = np.empty((0, 0)) if self.table is None else self.table
        return (Stage("draw_from_columns", (round(self.p * 2**32), table)),)

    def _check_coordinates(self, d: int) -> None:
        if self.table is None:
            raise ValueError(
                f"Corrupt(p={self.p:g}) has no table of columns to draw from; take Corrupt({self.p:g}).fitted(x), with "
                f"all samples or those of training, so that no view depends on how the data are divided"
            )
        if self.table.shape[1] != d:
            raise ValueError(
                f"{self!r} draws from a table of {self.table.shape[1]} columns, found samples of {d} coordinates; take "
                f"Corrupt({self.p:g}).fitted(x) with the columns of these samples"
            )
