"""Give back to the system what the C allocator keeps after it was freed, and say how much that is.

Covers: whose `malloc` this process runs on; its purge; its free bytes; making large blocks return by themselves.
Leaves to others: what is freed (the components), when (`manager`), pymalloc's arenas, which Python unmaps when empty.

Every call goes through `ctypes.CDLL`, which lets go of the interpreter meanwhile: a trim of 500 MB takes 40 to 190 ms,
in which an event loop that allocates nothing lags 4 ms (39 to 92 if the interpreter is kept). But glibc holds an
arena's lock while it trims or counts it: a loop in the main thread that allocates blocks above 1 KiB waits for that
(45 ms with 115 MB of small holes, 205 with 460 MB). jemalloc does not (8 to 10 ms).
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Protocol

from memory_watchdog_kit.forking import held_across_forks

LARGE_BLOCK_BYTES = 16_384
"""From this size on a block is mapped on its own with `return_large_blocks`: 70 % of freed arrays come back at once."""

_M_MMAP_THRESHOLD = -3
_EVERY_ARENA = 4096  # MALLCTL_ARENAS_ALL since jemalloc 5


class Allocator(Protocol):
    """The C allocator of this process."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    def free_bytes(self) -> int | None:
        """What it keeps of freed memory, not given back; None where it does not tell."""
        ...

    def give_back(self) -> str | None:
        """Return whole free pages to the system. None when done, else the reason why this cannot be done."""
        ...


class Unknown:
    """An allocator that has no known way to give pages back."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def free_bytes(self) -> int | None:
        """Never known."""
        return None

    def give_back(self) -> str | None:
        """The reason why not."""
        return self._reason


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


class Glibc:
    """glibc's malloc: `malloc_trim(0)`, which goes through every arena and returns each whole free page.

    Free bytes are `fordblks` of `mallinfo2` (free chunks of all arenas, the fast bins and the top chunks included;
    `hblkhd` are mapped blocks, which are never free). glibc still counts a chunk as free after its pages went back, so
    what a trim leaves is subtracted until the program uses it again. `mallinfo`, all that glibc < 2.33 has, overflows
    at 2 GiB: unknown there.
    """

    name = "glibc"

    def __init__(self, library: ctypes.CDLL, clock: Callable[[], float] = time.monotonic) -> None:
        self._trim = library.malloc_trim
        self._trim.argtypes, self._trim.restype = [ctypes.c_size_t], ctypes.c_int
        self._mallinfo2 = getattr(library, "mallinfo2", None)
        if self._mallinfo2 is not None:
            self._mallinfo2.argtypes, self._mallinfo2.restype = [], _Mallinfo2
        self._clock = clock
        self._lock = held_across_forks(threading.Lock())
        self._free_bytes = 0
        self._not_resident_bytes = 0
        self._trimmed = False
        self._next_read_at = -float("inf")

    def free_bytes(self) -> int | None:
        """As `Allocator`, at most a second old, or 500 times as old as reading it took.

        Reading walks every free chunk under the arenas' locks: 3 ms for 25,000 of them, 55 for 100,000. After a trim it
        is always read anew, since what is free then is what is not resident.
        """
        if self._mallinfo2 is None:
            return None
        with self._lock:
            started = self._clock()
            if self._trimmed or started >= self._next_read_at:
                self._free_bytes = int(self._mallinfo2().fordblks)
                returned = self._free_bytes if self._trimmed else self._not_resident_bytes
                self._not_resident_bytes = min(self._free_bytes, returned)
                self._trimmed = False
                ended = self._clock()
                self._next_read_at = ended + max(1.0, 500 * (ended - started))
            return self._free_bytes - self._not_resident_bytes

    def give_back(self) -> str | None:
        """As `Allocator`."""
        self._trim(0)
        with self._lock:
            self._trimmed = True
        return None


class Jemalloc:
    """jemalloc ≥ 5: `arena.4096.purge`, every arena's dirty pages.

    Free bytes are `stats.resident` − `stats.metadata` − `stats.allocated`: what is resident and in nobody's use. None
    where it was built without statistics.
    """

    name = "jemalloc"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._mallctl = library.mallctl
        self._mallctl.argtypes = [ctypes.c_char_p] + [ctypes.c_void_p] * 3 + [ctypes.c_size_t]
        self._mallctl.restype = ctypes.c_int

    def free_bytes(self) -> int | None:
        """As `Allocator`."""
        epoch = ctypes.c_uint64(1)  # statistics are as old as the last write to it
        if self._mallctl(b"epoch", None, None, ctypes.addressof(epoch), ctypes.sizeof(epoch)):
            return None
        keys = (b"stats.resident", b"stats.metadata", b"stats.allocated")
        resident, metadata, allocated = (self._size(key) for key in keys)
        if resident is None or metadata is None or allocated is None:
            return None
        return max(0, resident - metadata - allocated)

    def give_back(self) -> str | None:
        """As `Allocator`."""
        failed = self._mallctl(b"arena.%d.purge" % _EVERY_ARENA, None, None, None, 0)
        return f"jemalloc's purge answered with error {failed}" if failed else None

    def _size(self, key: bytes) -> int | None:
        value, length = ctypes.c_size_t(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_size_t))
        failed = self._mallctl(key, ctypes.addressof(value), ctypes.addressof(length), None, 0)
        return None if failed else value.value


class Mimalloc:
    """mimalloc: `mi_collect(true)`; it does not tell its free bytes. Version 2.0.9 gave back next to nothing."""

    name = "mimalloc"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._collect = library.mi_collect
        self._collect.argtypes, self._collect.restype = [ctypes.c_bool], None

    def free_bytes(self) -> int | None:
        """Never known."""
        return None

    def give_back(self) -> str | None:
        """As `Allocator`."""
        self._collect(True)
        return None


class _DlInfo(ctypes.Structure):
    """`Dl_info` of <dlfcn.h>."""

    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


_KNOWN: tuple[tuple[str, Callable[[ctypes.CDLL], Allocator]], ...] = (
    ("mallctl", Jemalloc),
    ("mi_collect", Mimalloc),
    ("malloc_trim", Glibc),
)


def find_allocator(library: ctypes.CDLL | None = None) -> Allocator:
    """The allocator that this process runs on: the library that `malloc` itself comes from, preloaded or linked in.

    A jemalloc that some extension module carries for itself is not it, nor is glibc's where another is preloaded.
    `library` is where to look, by default the whole process.
    """
    try:
        library = library or ctypes.CDLL(None)
        home = _origin(library, "malloc")
    except (OSError, TypeError, AttributeError) as error:  # Windows has no CDLL(None)
        return Unknown("unknown", f"cannot give pages back: no malloc to be found in this process ({error})")
    for symbol, kind in _KNOWN:
        try:
            if _origin(library, symbol) == home:
                return kind(library)
        except AttributeError:
            continue
    known = ", ".join(symbol for symbol, _ in _KNOWN)
    return Unknown(home, f"cannot give pages back: {home or 'the allocator'} has none of {known}")


def return_large_blocks(threshold_bytes: int = LARGE_BLOCK_BYTES) -> bool:
    """Have glibc map every block from `threshold_bytes` on by itself, so that it returns at once when it is freed.

    To be called at start-up, before much is allocated; the same as `MALLOC_MMAP_THRESHOLD_` in the environment. glibc
    otherwise starts at 128 KiB and raises that by itself, up to 32 MiB, to the size of what is freed. Each such block
    costs two system calls and up to a page. True when set, False where malloc is not glibc's. ValueError for a
    threshold below a page (4,096) or above 32 MiB, which glibc refuses.
    """
    if not 4096 <= threshold_bytes <= 2**25:
        raise ValueError(f"threshold_bytes is {threshold_bytes}: it must be between 4096 and {2**25}")
    if not isinstance(find_allocator(), Glibc):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return bool(mallopt(_M_MMAP_THRESHOLD, threshold_bytes))


def _origin(library: ctypes.CDLL, symbol: str) -> str:
    """The file that a function of this process comes from. AttributeError where there is no such function."""
    info = _DlInfo()
    dladdr = library.dladdr
    dladdr.argtypes, dladdr.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_int
    found = dladdr(ctypes.cast(getattr(library, symbol), ctypes.c_void_p), ctypes.addressof(info))
    return (info.file or b"").decode(errors="replace") if found else ""
