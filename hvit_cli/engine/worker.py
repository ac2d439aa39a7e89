"""A process that takes slides from another one, one at a time, until there are no more."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from hvit_cli.engine.attempt import attempt
from hvit_cli.engine.job import SlideJob
from hvit_cli.errors import HvitError, WorkerError
from hvit_cli.steps.watch import unwatched

_TELL_EVERY_S = 0.5


def thread_variables(threads: int) -> dict[str, str]:
    """What tells libraries their threads; they read it when they are loaded."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VIPS_CONCURRENCY")
    return {**dict.fromkeys(names, str(threads)), "OPENCV_FOR_THREADS_NUM": "1"}


def serve(
    connection: Connection, packed_job: bytes, threads: int, is_watched: bool, gpu: str | None
) -> None:
    """Opens a job and does every slide that comes through the connection.

    Sends `("log", name, level, text)`, `("ready",)` or `("refused", error)`, and for each slide
    `("started",)`, `("at", slide_id, done, total)` now and then where it is watched, and
    `("ended", outcome)`. Ends when the connection does, and at once when the
    process at its other end is gone.

    Args:
        connection: To the process that hands out slides.
        packed_job: The pickled `SlideJob`; as bytes, because unpickling it loads libraries that
            must know their number of threads first.
        threads: Threads that the libraries may use.
        is_watched: Whether somebody wants to know how far slides are.
        gpu: The GPU to see; None for whatever there is.
    """
    # Ctrl-C goes to every process of a terminal; the one that hands out slides decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(thread_variables(threads))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    logger = logging.getLogger("hvit_cli")
    logger.addHandler(_Forwarding(connection))
    logger.setLevel(logging.INFO)
    try:
        job: SlideJob[Any] = pickle.loads(packed_job)
        step = job.open_watched(_Telling(connection).tell if is_watched else unwatched)
    except HvitError as error:
        connection.send(("refused", error))
        return
    except Exception:
        # A bug before the first slide: nothing can be done, and the traceback is the message.
        connection.send(("refused", WorkerError("a worker failed to start", found=_trace())))
        return
    _use_loaded_threads(threads)
    connection.send(("ready",))
    while True:
        try:
            entry = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(("started",))
        outcome = attempt(entry, step, job.stage, job.work)
        if outcome.product is not None:
            outcome = replace(outcome, product=job.light(outcome.product))
        connection.send(("ended", outcome))


def _trace() -> str:
    return traceback.format_exc()[-2000:]


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)  # so that a file that is being written takes its temporary away


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _use_loaded_threads(threads: int) -> None:
    """Tells libraries that were loaded before they could read it, as when tests are run."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


class _Telling:
    """Says how far a slide is, not more often than people can read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._told = 0.0

    def tell(self, slide_id: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            self.connection.send(("at", slide_id, done, total))


class _Forwarding(logging.Handler):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self.connection.send(("log", record.name, record.levelno, record.getMessage()))
