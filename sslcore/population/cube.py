"""The hypercube {-1, 1}^d with the uniform distribution, whose parities diagonalise nearly everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import check_integer
from ..augmentations import Augmentation
from ..declarations.parameters import integer
from ..kernels import Gaussian, Kernel, as_kernel
from . import cube_augmentations as laws
from .base import Domain
from .cube_blocks import block_lines
from .cube_classes import SubsetClass, class_lines
from .cube_functions import Eigenfunctions
from .cube_given import lines_given, select_given
from .cube_labels import OrbitNames, SetNames, canonical, is_pair, subset_of
from .cube_risk import moments
from .cube_sets import Masks, OrbitLabels, Orbits, Sets, Space, SubsetLabels
from .cube_values import ENUMERATED, is_pooled, kernel_values
from .given import Eigenvalues
from .lines import Lines

__all__ = ["Hypercube", "SubsetClass", "crop_eigenvalue_by_diameter"]


@dataclass(frozen=True)
class Hypercube(Domain):
    r"""{-1, 1}^d with the uniform distribution; the parities chi_S(x) = prod_{i in S} x_i are an orthonormal basis.

    Write (A f)(x) = E[f(xi) | x]; T = A* A.  With h = |S|, A chi_S is

    ==============================  =============================================================================
    ``BitFlip(p)``                  (1 - 2p)^h chi_S
    ``Resample(p)``                 (1 - p)^h chi_S
    ``Crop(w)``                     N_w(S)/d chi_S, N_w(S) the number of cyclic windows of w coordinates that
                                    contain S: sum_i (g_i - (d - w))_+ over the cyclic gaps g_i of S
    ``Crop(w, cyclic=False)``       the share of the d - w + 1 windows that contain S
    ``SignFlip(p)``                 chi_S for even h, (1 - 2p) chi_S for odd h
    ``Shift(law)``                  sum_a law[a] chi_(S - a): on the Fourier functions psi_j of the orbit of S
                                    under shifts, of r sets, the eigenvalue sum_a law[a] exp(-2 pi i a j / r)
    ``Reversal(p)``                 (1 - p) chi_S + p chi_S', S' the reversed set
    ``Compose``, ``Mixture``        products and weighted sums of these; where no basis is common to all parts, T is
                                    diagonalised exactly on each orbit of sets under shifts and reversal
    ==============================  =============================================================================

    and a kernel that is a function of the Hamming distance has one eigenvalue nu_h for each h (`kernel_eigenvalues`).
    A convolutional kernel over patches of q coordinates has (N_q(S)/d) nu_h, with the nu of its base on the cube of a
    patch; with a pooling filter f its eigenfunctions are the psi_j, and the eigenvalue is multiplied by
    |sum_a f(a) exp(-2 pi i a j / r)|^2 (global average: 1 for j = 0, else 0).

    For d <= 24 all 2^d functions are listed, with labels that name them: the set as a tuple (S); with shifts (S, j), S
    the least set of the orbit (with pooling too); else (S, i), the i-th function of the orbit.  For larger d the sets
    of equal size and equally many windows are one line with a multiplicity, labelled by a `SubsetClass`: nothing is
    enumerated (crops of one width; no reversal).

    Parameters
    ----------
    d : int
        Dimension; from 1 to 10000.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774, section 4.  The counts of windows are exact for
    all widths; the diameter formula often quoted is `crop_eigenvalue_by_diameter`.

    Examples
    --------
    >>> from sslcore.augmentations import BitFlip
    >>> from sslcore.kernels import Gaussian
    >>> from sslcore.population import Hypercube
    >>> s = Hypercube(4).spectrum(BitFlip(0.1), Gaussian(1.0), reg=1e-3, n_components=5)
    >>> s.eigenvalues.round(4), s.labels, s.block_ends
    (array([0.9904, 0.6274, 0.6274, 0.6274, 0.6274]), ((), (0,), (1,), (2,), (3,)), (1, 5))
    >>> Hypercube(1000).spectrum(BitFlip(0.1), Gaussian(30.0), reg=1e-3, n_components=1001).labels[-1]
    SubsetClass(size=1, windows=None, frequency=None)
    """

    d: int = integer("dimension", minimum=1, maximum=10_000)

    # ------------------------------------------------------------ eigenvalues

    def augmentation_eigenvalues(
        self, augmentation: Augmentation, sets: Iterable[Iterable[int]] | None = None
    ) -> np.ndarray:
        """Return the eigenvalues of T on parities.

        Parameters
        ----------
        augmentation : Augmentation
            One that parities diagonalise (no `Shift`, no `Reversal`; see `lines` for those).
        sets : iterable of sets of coordinates, optional
            Any d.  By default all 2^d sets in the order of sum_{i in S} 2^i (d <= 24).

        Returns
        -------
        array (len(sets),) or (2^d,)

        Examples
        --------
        >>> from sslcore.augmentations import BitFlip
        >>> Hypercube(12).augmentation_eigenvalues(BitFlip(0.1), [(), {0}, {0, 5}]).round(4)
        array([1.    , 0.64  , 0.4096])
        """
        self._check_law(augmentation)
        if laws.needs(augmentation) != "parities":
            raise ValueError(
                f"parities are not eigenfunctions of {augmentation!r}; lines(...) and spectrum(...) have its "
                "eigenvalues, on the orbits of sets under shifts and reversal"
            )
        return _squared(laws.eigenvalues(augmentation, self._space(sets)))

    def kernel_eigenvalues(self, kernel: Any, sets: Iterable[Iterable[int]] | None = None) -> np.ndarray:
        """Return the eigenvalues of K: nu_h for h = 0..d, or those on given sets.

        Parameters
        ----------
        kernel : Kernel or callable
            A function of the Hamming distance has one eigenvalue for each h = |S| (multiplicity C(d, h)): all
            dot-product and distance kernels, and what is built from them.  Others need ``sets``.
        sets : iterable of sets of coordinates, optional

        Returns
        -------
        array (d + 1,) or (len(sets),)
            Structural zeros are exactly 0.  Relative accuracy (1e-11 or better) is kept for large h, where plain
            sums in float64 have none: 1e-6 of the value is lost at h = 20 for ReLU kernels in d = 64.

        Examples
        --------
        >>> from sslcore.kernels import Gaussian
        >>> Hypercube(3).kernel_eigenvalues(Gaussian(1.0)).round(4)
        array([0.1829, 0.1393, 0.1061, 0.0808])
        """
        kernel = as_kernel(kernel)
        if sets is not None:
            return kernel_values(kernel, self._space(sets))
        return kernel_values(kernel, Sets(self.d, [tuple(range(h)) for h in range(self.d + 1)]), zonal=True)

    # ------------------------------------------------------------ lines

    def lines(
        self, augmentation: Augmentation, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0
    ) -> Lines:
        """Return all 2^d lines, in the order of masks, for d <= 24; beyond, classes that can be among the first n.

        See `Domain.lines`.
        """
        if kernel is None and reg != 0.0:
            raise TypeError("a kernel is needed, unless lambda = 0 (reg=0.0), where T alone decides")
        kernel = Gaussian(1.0) if kernel is None else kernel
        if isinstance(augmentation, Eigenvalues):
            return lines_given(self.d, augmentation, as_kernel(kernel))
        kernel = self._check(augmentation, kernel)
        if self.d > ENUMERATED:
            return class_lines(self.d, augmentation, kernel, n, reg, beta)
        return _enumerated(self.d, augmentation, kernel)

    def canonical(self, label: Any) -> Any:
        """Return a set as an increasing tuple, (set, j) likewise, a class of sets as it is."""
        return canonical(label, self.d)

    def select(self, augmentation: Augmentation, kernel: Any, labels: Iterable[Any]) -> Lines:
        """Return the lines of given sets, at any d; see `Domain.select`."""
        wanted = [self.canonical(label) for label in labels]
        if isinstance(augmentation, Eigenvalues):
            return select_given(self, augmentation, kernel, wanted)
        kernel = self._check(augmentation, kernel)
        plain = all(not isinstance(w, SubsetClass) and not is_pair(w) for w in wanted)
        if plain and laws.needs(augmentation) == "parities" and not is_pooled(kernel):
            space = Sets(self.d, wanted)
            t = _squared(laws.eigenvalues(augmentation, space))
            return Lines(t, kernel_values(kernel, space), np.ones(len(wanted), np.int64), wanted, SetNames(self.d))
        return super().select(augmentation, kernel, wanted)

    # ------------------------------------------------------------ functions and representations

    def eigenfunctions(
        self, augmentation: Augmentation, kernel: Any, *, reg: float, beta: float = 1.0, n_components: int
    ) -> Eigenfunctions:
        """Make the first eigenfunctions of T_lambda, orthonormal: a function from points (n, d) to values (n, k).

        A label S is the parity of S.  (S, j) with shifts is the Fourier function psi_j / sqrt(r) of the orbit for j = 0
        and r/2; for other j sqrt(2) times its real part (j < r/2), or the imaginary part of psi_(r-j) (j > r/2).
        (S, i) with reversals is the i-th eigenvector of T on the orbit, its first large coefficient positive.  For
        d > 24 the sets of a class are taken in lexicographic order.  Arguments and warning as for `spectrum`.

        Examples
        --------
        >>> from sslcore.augmentations import BitFlip, Shift
        >>> from sslcore.kernels import Gaussian
        >>> f = Hypercube(3).eigenfunctions(Shift([0.5, 0.5]), Gaussian(1.0), reg=1e-2, n_components=2)
        >>> f.spectrum.labels, f([[1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]).round(4)
        ((((), 0), ((0,), 0)), array([[1.    , 1.7321],
               [1.    , 0.5774]]))
        """
        spectrum = self.spectrum(augmentation, kernel, reg=reg, beta=beta, n_components=n_components)
        return Eigenfunctions(self.d, augmentation, spectrum)

    def moments(self, psi: Any, augmentation: Augmentation) -> tuple[np.ndarray, np.ndarray]:
        """Return E psi psi^T and <psi, T psi>, (k, k), exactly: no sampling.

        Parameters
        ----------
        psi : array (2^d,) or (2^d, k), `Representation`, or function from points (n, d) to values (n, k)
            Values at all points, d <= 24: row n is at the point with x_i = -1 where bit i of n is set.  A fitted
            representation whose kernel is a function of the Hamming distance (centres on the cube) has exact moments
            for any d, at the cost of a few Gram matrices of its centres: <k(., x), T k(., y)> = sum_h nu_h^2 t_h
            Kr_h(j) at the distance j, and crops, no wider than 16, through the parities inside of each window.
        augmentation : Augmentation

        Examples
        --------
        >>> import numpy as np
        >>> from sslcore.augmentations import BitFlip
        >>> x_0 = np.array([1.0, -1.0, 1.0, -1.0])  # the first coordinate, on the square
        >>> second, smooth = Hypercube(2).moments(x_0, BitFlip(0.1))
        >>> float(second[0, 0]), round(float(smooth[0, 0]), 4), round(Hypercube(2).risk(x_0, BitFlip(0.1)), 4)
        (1.0, 0.64, 0.72)
        """
        self._check_law(augmentation)
        return moments(self.d, psi, augmentation)

    # ------------------------------------------------------------ inside

    def _check_law(self, augmentation: Any) -> None:
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation must be one of sslcore.augmentations, found {augmentation!r}")
        laws.check_augmentation(augmentation, self.d)

    def _check(self, augmentation: Any, kernel: Any) -> Kernel:
        self._check_law(augmentation)
        return as_kernel(kernel)

    def _space(self, sets: Iterable[Iterable[int]] | None) -> Space:
        if sets is not None:
            return Sets(self.d, [subset_of(s, self.d) for s in sets])
        if self.d > ENUMERATED:
            raise ValueError(
                f"the 2^d sets are enumerated up to d = {ENUMERATED} only, found d = {self.d}; give the sets, or use "
                f"spectrum(...), which works with classes of sets"
            )
        return Masks(self.d)


def crop_eigenvalue_by_diameter(d: int, width: int, subset: Iterable[int]) -> float:
    """Return the often-quoted eigenvalue ((w + 1 - diam S)_+ / d)^2 of T for a cyclic crop.

    diam S is the number of coordinates of the shortest cyclic arc that covers S.  It holds for all non-empty S only
    when 2w <= d + 1; beyond, and for the empty set, `Hypercube.augmentation_eigenvalues` is right and this is not
    (d = 12, w = 8, S = {0, 5}: 1/9, not 1/16).

    Examples
    --------
    >>> from sslcore.population import crop_eigenvalue_by_diameter
    >>> crop_eigenvalue_by_diameter(12, 8, {0, 5})
    0.0625
    """
    d = check_integer(d, "d", minimum=1)
    width = check_integer(width, "width", minimum=1, maximum=d)
    found = subset_of(subset, Hypercube(d).d)
    gaps = [b - a for a, b in itertools.pairwise(found)] + [found[0] + d - found[-1]] if found else [d + 1]
    diameter = d - max(gaps) + 1
    return (max(width + 1 - diameter, 0) / d) ** 2


def _squared(values: np.ndarray) -> np.ndarray:
    """Return |c|^2."""
    out: np.ndarray = (values * values.conj()).real if np.iscomplexobj(values) else values * values
    return out


def _enumerated(d: int, augmentation: Augmentation, kernel: Kernel) -> Lines:
    """List all 2^d lines."""
    need = laws.needs(augmentation)
    pooled = is_pooled(kernel)
    fixed = any(not cyclic for width, cyclic in laws.crop_widths(augmentation) if width < d)
    if need == "blocks" or (pooled and fixed):
        return block_lines(d, augmentation, kernel)
    space: Masks | Orbits
    labels: Sequence[Any]
    names: OrbitNames | SetNames
    if need == "orbits" or pooled:
        space = Orbits(d)
        labels, names = OrbitLabels(space.masks, space.index), OrbitNames(d, True, False)
    else:
        space = Masks(d)
        labels, names = SubsetLabels(space.masks), SetNames(d)
    t = _squared(laws.eigenvalues(augmentation, space))
    return Lines(t, kernel_values(kernel, space), np.broadcast_to(np.int64(1), len(t)), labels, names)
