"""Numba's compiler with a cache on disk whose state cannot end a computation, in processes that may fork.

What is kept saves the next process a minute of compilation; without it everything works, later.  Hence:

* An entry that is damaged, in whatever way, is compiled again and written anew.  Numba itself would unpickle and run
  what it finds, so each entry has a checksum here, and the stamp of the source that it was made from: Numba writes its
  index before the entry, and where the disk is full in between, the index points to an older entry.
* Numba's stamp of a source is that of one file, but the sizes ``CPU_...`` of `sslcore.tunables` are constants of the
  machine code: an entry has a digest of them too, and is made anew where any was changed.
* Where nothing can be written or read the process goes on without, and says once what would help.
* A fork waits until no thread compiles: the child would find Numba's lock taken, by a thread that it does not have.
* Ctrl-C waits until the main thread has compiled: the lock of llvmlite is one of Python, which an exception in the
  middle of its ``__enter__`` leaves taken, so that the next thread to compile would wait for ever.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.extending import intrinsic

from ... import tunables
from ..signals import signals_held

__all__ = ["code_of", "compiled", "compiled_callback", "generated"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Arguments = ParamSpec("_Arguments")


TUNED = hashlib.sha256(repr(sorted((k, v) for k, v in vars(tunables).items() if k[:4] == "CPU_")).encode()).hexdigest()
"""Digest of the sizes that compiled loops may use, as they are when the compiler is loaded."""


class _Damaged(Exception):
    """Raised where an entry is not what was written."""


class _CheckedEntry(CompileResultCacheImpl):
    """An entry as Numba makes it, behind the stamp of what it is made of and the checksum of both."""

    def stamp(self) -> tuple[Any, str]:
        return self.locator.get_source_stamp(), TUNED

    def reduce(self, cres: Any) -> tuple[bytes, bytes]:
        content = dumps((self.stamp(), super().reduce(cres)))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        checksum, content = payload
        if hashlib.sha256(content).digest() != checksum:
            raise _Damaged("its checksum does not fit")
        stamp, reduced = pickle.loads(content)
        if stamp != self.stamp():
            raise _Damaged("it was made from an older source, or with other sizes of blocks")
        return super().rebuild(target_context, reduced)


class _Cache(FunctionCache):
    """Numba's cache of a function, which raises nothing."""

    _impl_class = _CheckedEntry

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for these types; None if there is none that is whole."""
        try:
            found = super().load_overload(sig, target_context)
            types = getattr(sig, "args", sig)
            if found is not None and tuple(found.signature.args) != tuple(types):
                raise _Damaged("it is for other types")
        except Exception:  # whatever unpickling bytes can raise
            self._begin_anew()
            return None
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it for the next process if that is possible."""
        try:
            super().save_overload(sig, data)
        except Exception:  # a full disk; or an index that was damaged meanwhile
            self._begin_anew()
            try:
                super().save_overload(sig, data)
            except Exception as error:
                _say_once(f"{type(error).__name__}: {error}; folder {self.cache_path!r}")

    def _begin_anew(self) -> None:
        """Replace the index by an empty one."""
        try:
            self.flush()
        except OSError as error:
            _say_once(f"{error}; folder {self.cache_path!r}")


_said = False


def _say_once(why: str) -> None:
    global _said
    if _said:
        return
    _said = True
    warnings.warn(
        f"compiled code cannot be kept for the next process, which will compile again ({why}); set the environment "
        f"variable NUMBA_CACHE_DIR to a folder with free space that can be written",
        RuntimeWarning,
        stacklevel=3,
    )


def _cache_of(function: Callable[..., Any]) -> Any:
    """Return the function's cache; one that keeps nothing where Numba finds no folder for it."""
    try:
        return _Cache(function)
    except Exception as error:
        if os.path.exists(function.__code__.co_filename):  # not in a notebook, which has no files
            _say_once(str(error))
        return NullCache()


def compiled(signature: Any = None, **options: Any) -> Callable[[_Function], _Function]:
    """Compile by `numba.njit` with these options and keep the result on disk; with a signature, compile at once.

    A type checker sees the function as it was written.
    """

    def decorate(function: _Function) -> _Function:
        dispatcher: Any = numba.njit(**options)(function)
        if hasattr(dispatcher, "compile"):  # not under NUMBA_DISABLE_JIT
            dispatcher._cache = _cache_of(function)
            dispatcher.compile = signals_held()(dispatcher.compile)
            if signature is not None:
                dispatcher.compile(signature)
                dispatcher.disable_compile()
        decorated: _Function = dispatcher
        return decorated

    return decorate


def generated(
    function: Callable[Concatenate[Any, _Arguments], tuple[Any, Callable[..., Any]]],
) -> Callable[_Arguments, Any]:
    """Make a function that compiled code calls of one that writes LLVM's instructions, by `numba.extending.intrinsic`.

    ``function`` takes Numba's typing context, which callers do not see, and the types of the arguments; it returns a
    signature and the generator of the instructions.
    """
    return cast(Callable[_Arguments, Any], intrinsic(function))


def code_of(function: Callable[..., Any]) -> CodeType:
    """Return the bytecode of a function as it was written, whether it is compiled or not."""
    code: CodeType = getattr(function, "py_func", function).__code__
    return code


def compiled_callback(function: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """Compile by `numba.cfunc` with these options and keep the result on disk."""
    callback: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options=options)
    callback._cache = _cache_of(function)
    with signals_held():
        callback.compile()
    return callback


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
