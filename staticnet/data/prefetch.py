"""Working ahead: an iterator whose next items are made by one background thread."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

from staticnet.compiler import origins
from staticnet.compiler.errors import StaticnetError

Item = TypeVar("Item")


def prefetched(source: Generator[Item, None, None], ahead: int) -> Generator[Item, None, None]:
    """The items of `source` in its order, up to `ahead` of them made before they are asked for.

    What `source` raises is raised here, in its turn and with its traceback. Closing the
    generator, or dropping the last reference to it, ends the thread and closes `source`.
    """
    worker = _Worker(source, ahead)
    # The context carries numpy.errstate and the like, so that items do not depend on the thread.
    context = contextvars.copy_context()
    # A daemon, or an iterator left half-way at the end of the script would keep the process alive.
    thread = threading.Thread(target=context.run, args=(worker.run,), name="staticnet-prefetch", daemon=True)
    thread.start()
    try:
        while (made := worker.next()) is not None:
            yield made[0]
    finally:
        worker.stop()
        # The garbage collector may close this generator from within the worker thread itself.
        if thread is not threading.current_thread():
            thread.join()


class _Worker:
    """What the two threads share; it must not refer to the consuming generator, or that would never be collected."""

    def __init__(self, source: Generator[Any, None, None], ahead: int):
        self.source = source
        self.room = threading.Semaphore(ahead)
        self.made: queue.SimpleQueue[tuple[Any] | BaseException | None] = queue.SimpleQueue()
        self.stopped = False

    def run(self) -> None:
        try:
            while self.room.acquire() and not self.stopped:
                self.made.put((next(self.source),))
        except StopIteration:
            self.made.put(None)
        except BaseException as error:
            self.made.put(error)
        finally:
            self.source.close()

    def next(self) -> tuple[Any] | None:
        """The next item in a tuple of one, or None at the end."""
        made = self.made.get()
        self.room.release()
        if not isinstance(made, BaseException):
            return made
        try:
            if isinstance(made, StaticnetError) and _is_of_thread(made.origin):
                made.origin = origins.here()
            raise made
        finally:
            del made  # it refers to this frame through its traceback

    def stop(self) -> None:
        self.stopped = True
        self.room.release()


def _is_of_thread(origin: origins.Origin | None) -> bool:
    """Whether the search for the user's line ended in the standard library's start of the thread."""
    return origin is None or origin.file == threading.__file__
