"""The client that works, what its workers may use, and words for what goes wrong there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle
from dask import config
from dask.base import compute
from dask.delayed import delayed
from dask.system import CPU_COUNT

from .. import tunables
from ..arrays import check_integer
from ..errors import MemoryBudgetError
from ..features import Features, Nystrom
from ..fitting.plan import memory_budget
from ..fitting.representation import Representation
from ..kernels import Kernel

__all__ = ["Cluster", "sent"]

_PAUSED = 0.8
"""The share of its memory limit from which a worker of Dask takes no more tasks."""

_PROCESS_BYTES = 300 << 20
"""What a worker takes before its first task: interpreter, compiled code, buffers of BLAS."""


class Cluster:
    """A client of ``distributed``, or without one the scheduler that Dask is configured with.

    Parameters
    ----------
    client : distributed.Client or None
        None: the default client, if there is one and no other scheduler is configured.
    retries : int
        How often a task that fails is tried again.
    """

    def __init__(self, client: Any, retries: int) -> None:
        self.retries = check_integer(retries, "retries", minimum=0)
        if client is not None and not (hasattr(client, "compute") and hasattr(client, "scheduler_info")):
            raise TypeError(f"client must be a client of distributed, found {type(client).__name__}")
        self.client = _default_client() if client is None else client

    def compute(self, values: list[Any]) -> list[Any]:
        """Compute delayed values; what was begun is given up if we are interrupted."""
        if self.client is None:
            return list(compute(*values))
        with _reworded(self.client) as failed:
            futures = self.client.compute(values, retries=self.retries)
            try:
                return list(self.client.gather(futures))
            except BaseException:
                failed += [future for future in futures if future.status == "error"]
                with contextlib.suppress(Exception):  # the cluster may be gone
                    self.client.cancel(futures)
                raise

    def send(self, value: Any) -> Any:
        """Send a value to the cluster, for many tasks: as the result of one, which is done again if its worker is lost.

        ``Client.scatter`` would not do: a broadcast waits for ever when a worker dies meanwhile, values that are with
        one worker are lost with it, and an adaptive cluster at rest wakes up for tasks only.
        """
        if self.client is None:
            return delayed(value, pure=False, traverse=False)
        with _reworded(self.client), config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            return self.client.submit(_itself, value, pure=False, retries=self.retries)

    def alive(self) -> bool:
        """Tell whether the scheduler still answers."""
        try:
            self._workers()
        except Exception:  # whatever it is
            return False
        return True

    def n_threads(self) -> int:
        """Return how many tasks run at a time now; of a cluster without workers, how many will, as far as we know."""
        if self.client is None:
            return CPU_COUNT
        return sum(worker["nthreads"] for worker in self._workers()) or tunables.DASK_COMING_THREADS

    def require(self, task_bytes: int, shared_bytes: int, what: str, remedy: str, n_tasks: int) -> None:
        """Refuse tasks that would not leave room on a worker, as many as it has threads; nothing was submitted."""
        if self.client is None:
            rooms = [(CPU_COUNT, memory_budget(None), "this machine has")]
        else:
            rooms = [
                (worker["nthreads"], int(_PAUSED * worker["memory_limit"]) - _PROCESS_BYTES, "a worker has left")
                for worker in self._workers()
                if worker["memory_limit"]
            ]
        for threads, room, who in rooms:
            threads = min(threads, n_tasks)
            need = threads * task_bytes + shared_bytes
            if need > room:
                each = f"{threads} tasks at a time of " if threads > 1 else "a task of "
                raise MemoryBudgetError(
                    f"{each}{task_bytes / 1e6:,.0f} MB ({what}), and {shared_bytes / 1e6:,.0f} MB for all, are more "
                    f"than the {max(room, 0) / 1e6:,.0f} MB that {who} (nothing was submitted); {remedy}",
                    need,
                )

    def _workers(self) -> list[Any]:
        """List what the scheduler knows of its workers; an adaptive cluster may have none yet."""
        with _reworded(self.client):
            try:
                found = self.client.scheduler_info(n_workers=-1)
            except TypeError:  # of older versions, which list all
                found = self.client.scheduler_info()
        return list(found.get("workers", {}).values())  # a client that is closed knows of nothing


def _itself(value: Any) -> Any:
    return value


def _default_client() -> Any:
    """Return the default client, unless Dask is told to use another scheduler."""
    chosen = config.get("scheduler", None)
    if "distributed" not in sys.modules or chosen not in (None, "distributed", "dask.distributed"):
        return None
    try:
        return sys.modules["distributed"].default_client()
    except ValueError:
        return None


@contextlib.contextmanager
def _reworded(client: Any) -> Iterator[list[Any]]:
    """Say in one line what a cluster that has lost tasks, or is lost itself, raises.

    Futures that failed are put into the list that this yields: what a task raises is not of the cluster.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    failed: list[Any] = []
    try:
        yield failed
    except KilledWorker as error:
        raise RuntimeError(
            f"the cluster gave a task up: {error.allowed_failures + 1} workers died that had it, probably for want of "
            f"memory; give workers more memory, or smaller chunks, or raise distributed.scheduler.allowed-failures"
        ) from None
    except (CancelledError, OSError, TimeoutError) as error:
        known = isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError)
        if failed or known:
            raise
        raise _lost(error) from None
    except Exception as error:  # a client that is closed raises several
        if failed or getattr(client, "status", "running") == "running":
            raise
        raise _lost(error) from None


def _lost(error: BaseException) -> ConnectionError:
    reason = " ".join(str(error).split())[:200]
    return ConnectionError(
        f"the cluster was lost, and with it the sums of this call ({type(error).__name__}: {reason}); start it again "
        f"and repeat the call, for parts of the data and with Moments.save if that happens often"
    )


def sent(model: Features | Kernel | Representation) -> int:
    """Return the bytes of a model on its way to workers; refuse what cannot be sent."""
    if isinstance(model, Nystrom):
        model.factor()  # once, and here: of equal pivots another machine may choose another one
    try:
        return len(cloudpickle.dumps(model))
    except Exception as error:  # objects raise what they like
        reason = " ".join(str(error).split())[:200]
        raise TypeError(
            f"the model cannot be sent to workers ({type(error).__name__}: {reason}); use kernels of sslcore.kernels, "
            f"or a function that holds no files, locks or connections"
        ) from None
