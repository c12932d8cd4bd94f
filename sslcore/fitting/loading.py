"""`load` reads whatever the library has saved."""

from __future__ import annotations

import os
from typing import Any

from .bimodal import BimodalRepresentation
from .codec import read_values
from .moments import Moments
from .representation import Representation

__all__ = ["load"]

_KINDS: dict[str, Any] = {
    "representation": Representation,
    "moments": Moments,
    "modalities": BimodalRepresentation,
}


def load(path: str | os.PathLike[str]) -> Representation | Moments | BimodalRepresentation:
    """Read a file that `Representation.save`, `Moments.save` or `BimodalRepresentation.save` wrote.

    The format (``docs/format.md``) is plain data: no code is run, whatever the file holds, and nothing is allocated
    that is larger than the file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Representation, Moments or BimodalRepresentation
        With NumPy arrays; ``rep.to("cupy")`` brings a representation to the GPU.

    Raises
    ------
    ValueError
        The file is damaged, truncated, of another program, or of a newer version of this one; the message says which.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> import os, tempfile, sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.features.Identity(), n_components=1, reg=1e-3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rep.save(os.path.join(folder, "model"))
    ...     sslcore.load(os.path.join(folder, "model")).eigenvalues == rep.eigenvalues
    array([ True])
    """
    kind, content = read_values(path, *_KINDS)
    loaded: Representation | Moments | BimodalRepresentation = _KINDS[kind].from_content(path, content)
    return loaded
