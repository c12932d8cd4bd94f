"""`cupy.cuda`: one device, streams whose copies are late on purpose, events, pools of memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .array import counters
from .memory import the_memory

__all__ = [
    "CUDADriverError",
    "CUDARuntimeError",
    "Device",
    "Event",
    "MemoryPool",
    "PinnedMemoryPool",
    "Stream",
    "alloc_pinned_memory",
    "enqueue",
    "is_pinned",
    "settle_streams",
]


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""

    def __init__(self, status: int, message: str = "") -> None:
        self.status = status
        super().__init__(message or f"cudaError {status}")


class CUDADriverError(RuntimeError):
    """`cupy.cuda.driver.CUDADriverError`."""

    def __init__(self, status: int, message: str = "") -> None:
        self.status = status
        super().__init__(message or f"CUDA_ERROR {status}")


CUDARuntimeError.__module__ = CUDADriverError.__module__ = "cupy_backends.cuda.api"


class Device:
    """`cupy.cuda.Device`."""

    __module__ = "cupy.cuda.device"
    capability = "80"

    def __init__(self, device: Any = None) -> None:
        self.id = 0 if device is None else int(device)
        if self.id != 0:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def use(self) -> None:
        """Make it the current one."""

    def synchronize(self) -> None:
        """Wait for all of its work."""
        counters.synchronizations += 1
        for stream in list(_streams):
            stream._run()

    @property
    def compute_capability(self) -> str:
        """As CuPy writes it."""
        return Device.capability

    @property
    def mem_info(self) -> tuple[int, int]:
        """Bytes that no process has, and all."""
        return the_memory.total - the_memory.used - the_memory.free, the_memory.total

    @property
    def attributes(self) -> dict[str, int]:
        """Some of the numbers that describe it, those of sm_80."""
        return {
            "MaxBlockDimX": 1024,
            "MaxGridDimX": 2**31 - 1,
            "MaxGridDimY": 65535,
            "MaxGridDimZ": 65535,
            "MaxSharedMemoryPerBlock": 48 << 10,
            "MaxSharedMemoryPerBlockOptin": 163 << 10,
            "MaxSharedMemoryPerMultiprocessor": 164 << 10,
            "MaxThreadsPerBlock": 1024,
            "MultiProcessorCount": 108,
            "WarpSize": 32,
            "L2CacheSize": 40 << 20,
        }


class Stream:
    """`cupy.cuda.Stream`.

    Work on the null stream is done at once.  Copies on other streams wait until somebody waits for them: what is read
    too early is not there yet, and a buffer that is written too early spoils what was to be copied.
    """

    __module__ = "cupy.cuda.stream"
    null: Stream
    ptds: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self._null = null or ptds
        self.non_blocking, self.priority, self.device_id = non_blocking, priority, 0
        self.ptr = 0 if null else id(self)
        self._queue: list[Callable[[], Any]] = []
        self._done = 0
        if not self._null:
            _streams.append(self)

    def _run(self, position: int | None = None) -> None:
        while self._queue and (position is None or self._done < position):
            self._queue.pop(0)()
            self._done += 1

    def _position(self) -> int:
        return self._done + len(self._queue)

    def __enter__(self) -> Stream:
        _current.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.pop()

    def use(self) -> Stream:
        """Make it the current one."""
        _current[-1] = self
        return self

    @property
    def done(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def synchronize(self) -> None:
        """Wait for its work."""
        counters.synchronizations += 1
        self._run()

    def record(self, event: Event | None = None) -> Event:
        """An event at its end."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Later work waits for the event."""
        if self._null:
            event._reach()
        else:
            self._queue.append(event._snapshot())

    def launch_host_func(self, callback: Callable[[Any], Any], arg: Any) -> None:
        """Call a function of the host in its turn."""
        enqueue(lambda: callback(arg), self)


_streams: list[Stream] = []
Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)
_current: list[Stream] = [Stream.null]


def get_current_stream(device_id: int = -1) -> Stream:
    """The current stream."""
    return _current[-1]


def enqueue(work: Callable[[], Any], stream: Stream | None) -> None:
    """Do it now, or later on a stream that is not the null stream."""
    stream = get_current_stream() if stream is None else stream
    if stream._null:
        work()
    else:
        stream._queue.append(work)


def settle_streams(stream: Stream | None) -> None:
    """Wait for one stream."""
    (get_current_stream() if stream is None else stream)._run()


class Event:
    """`cupy.cuda.Event`."""

    __module__ = "cupy.cuda.stream"

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.ptr = id(self)
        self._stream: Stream | None = None
        self._place = 0

    def record(self, stream: Stream | None = None) -> None:
        """Mark the end of a stream."""
        self._stream = get_current_stream() if stream is None else stream
        self._place = self._stream._position()

    def _reach(self) -> None:
        if self._stream is not None:
            self._stream._run(self._place)

    def _snapshot(self) -> Callable[[], None]:
        """What a stream that waits for this event does in its turn: the event as it is recorded now."""
        stream, place = self._stream, self._place
        return lambda: None if stream is None else stream._run(place)

    @property
    def done(self) -> bool:
        """Whether it has passed."""
        return self._stream is None or self._stream._done >= self._place

    def synchronize(self) -> None:
        """Wait for it."""
        counters.synchronizations += 1
        self._reach()


class MemoryPool:
    """`cupy.cuda.MemoryPool`."""

    __module__ = "cupy.cuda.memory"

    def __init__(self, allocator: Any = None) -> None:
        pass

    def used_bytes(self) -> int:
        """Held by arrays."""
        return the_memory.used

    def free_bytes(self) -> int:
        """Held by the pool only."""
        return the_memory.free

    def total_bytes(self) -> int:
        """Both."""
        return the_memory.used + the_memory.free

    def n_free_blocks(self) -> int:
        """Whether there is any."""
        return int(the_memory.free > 0)

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give unused memory back to the device."""
        the_memory.free = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Allow no more than this."""
        if (size is None) == (fraction is None):
            raise ValueError("size and fraction cannot be specified at one time")
        the_memory.limit = size if size is not None else int(fraction * the_memory.total)  # type: ignore[operator]

    def get_limit(self) -> int:
        """What is allowed; 0 if all."""
        return the_memory.limit


class PinnedMemoryPool:
    """`cupy.cuda.PinnedMemoryPool`."""

    __module__ = "cupy.cuda.pinned_memory"

    def free_all_blocks(self) -> None:
        """Give unused memory back."""

    def n_free_blocks(self) -> int:
        """There is none."""
        return 0


_pinned: dict[int, np.ndarray] = {}  # all of it, by address
_pinned_free: dict[int, list[np.ndarray]] = {}  # by size


def alloc_pinned_memory(size: int) -> Any:
    """Pinned memory, as something that NumPy makes an array of.

    As in CuPy, blocks of powers of two are given out again as soon as nobody holds them, whatever the device still
    copies from them; here they are spoilt by then.
    """
    whole = 1 << max(9, (size - 1).bit_length())
    free = _pinned_free.setdefault(whole, [])
    block = free.pop() if free else np.empty(whole, np.uint8)
    block.fill(0xFF)
    _pinned[block.ctypes.data] = block
    lent = block[:]

    def give_back() -> None:
        block.fill(0xFF)
        free.append(block)

    weakref.finalize(lent, give_back).atexit = False
    return memoryview(lent)


def is_pinned(address: int) -> bool:
    """Whether the device copies from there by itself, later on."""
    return any(start <= address < start + block.nbytes for start, block in _pinned.items())


the_pool, the_pinned_pool = MemoryPool(), PinnedMemoryPool()
