"""Workers on a Ray cluster that is running: actors that open the job once and may be lost.

Every machine of the cluster must see the slides and the work folder under the same paths, and
have the same version of hvit.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hvit_cli import __version__
from hvit_cli.engine.attempt import Cause, Outcome, attempt, failed_row
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.limits import GIB
from hvit_cli.engine.worker import thread_variables
from hvit_cli.errors import HvitError, WorkerError
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_DEATHS_IN_VAIN = 3
_PING_S = 0.5


class RayWorkers(Generic[T]):
    """Takes slides, and gives each to an actor of the cluster.

    Args:
        job: What is done; must be picklable.
        running: How many workers, what each is given, and how long one is waited for.
        slides: Slides of the run.

    Raises:
        WorkerError: Ray is not installed, or no cluster is running.
    """

    def __init__(self, job: SlideJob[T], running: RunSettings, slides: int) -> None:
        self._ray = _connected()
        self.job, self.running = job, running
        self._packed = pickle.dumps(job)
        total = self._ray.cluster_resources()
        self._cpus, count = share_of_cluster(total, running, slides)
        self._deaths = 0
        self._without_since: float | None = time.monotonic()
        self._places = [self._new_place() for _ in range(count)]

    def is_free(self) -> bool:
        """Whether an actor that has opened the job has no slide."""
        return any(place.is_ready and place.entry is None for place in self._places)

    def give(self, entry: SlideEntry) -> None:
        """Sends a slide to an idle actor."""
        place = next(place for place in self._places if place.is_ready and place.entry is None)
        place.entry, place.started = entry, time.monotonic()
        place.answer = place.actor.do.remote(entry)

    def wait(self, seconds: float) -> list[Outcome[T]]:
        """The slides that ended, by themselves or by the end of their actor.

        Raises:
            HvitError: The job can be done on no slide, or the cluster provides no worker.
        """
        pending = {place.answer: place for place in self._places if place.answer is not None}
        if not pending:
            time.sleep(min(seconds, _PING_S))
            return []
        answered, _ = self._ray.wait(list(pending), timeout=seconds)
        ended = []
        for answer in answered:
            outcome = self._heard(pending[answer])
            if outcome is not None:
                ended.append(outcome)
        ended += [self._too_late(place) for place in self._places if self._is_late(place)]
        self._require_somebody()
        return ended

    def close(self) -> None:
        """Ends every actor; slides that are being worked on are left undone."""
        for place in self._places:
            self._ray.kill(place.actor, no_restart=True)

    def _new_place(self) -> _Place:
        # A lost actor is replaced here rather than by Ray, so that a slide that kills its
        # worker costs its own tries, and is not given to the next one unseen.
        options: dict[str, Any] = {"num_cpus": self._cpus, "max_restarts": 0, "max_task_retries": 0}
        if self.running.gpus:
            options["num_gpus"] = self.running.gpus
        if self.running.memory_limit is not None:
            options["memory"] = int(self.running.memory_limit * GIB)
        threads = max(1, int(self._cpus))
        options["runtime_env"] = {"env_vars": thread_variables(threads)}
        actor = self._ray.remote(**options)(_Server).remote(
            self._packed, __version__, str(Path.cwd())
        )
        return _Place(actor, actor.why_not.remote())

    def _heard(self, place: _Place) -> Outcome[T] | None:
        try:
            answer = self._ray.get(place.answer)
        except self._ray.exceptions.RayError as error:
            return self._lost(place, error)
        place.answer = None
        if not place.is_ready:
            if answer is not None:
                raise _as_error(answer)
            place.is_ready = True
            return None
        place.entry, self._deaths = None, 0
        outcome: Outcome[T] = answer
        return outcome

    def _lost(self, place: _Place, error: Exception) -> Outcome[T] | None:
        told = f"{type(error).__name__}: {_first_line(error)}"
        if place.entry is None:
            self._deaths += 1
            if self._deaths >= _DEATHS_IN_VAIN * len(self._places):
                raise WorkerError("the cluster's workers die before they do any slide", found=told)
            self._replace(place)
            return None
        out_of_memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
        cause: Cause = "memory" if out_of_memory else "killed"
        return self._failed(place, cause, f"{cause}: its worker was lost: {told}")

    def _is_late(self, place: _Place) -> bool:
        limit = self.running.timeout
        return (
            limit is not None
            and place.entry is not None
            and time.monotonic() - place.started > limit
        )

    def _too_late(self, place: _Place) -> Outcome[T]:
        self._ray.kill(place.actor, no_restart=True)
        seconds = time.monotonic() - place.started
        reason = f"timeout: given up after {seconds:.0f} s (--timeout {self.running.timeout:g})"
        return self._failed(place, "timeout", reason)

    def _failed(self, place: _Place, cause: Cause, reason: str) -> Outcome[T]:
        entry = place.entry
        assert entry is not None  # for the type checker: places without a slide do not fail
        row = failed_row(entry, self.job.stage, reason, time.monotonic() - place.started)
        self._replace(place)
        return Outcome(entry=entry, row=row, product=None, cause=cause)

    def _replace(self, place: _Place) -> None:
        self._places[self._places.index(place)] = self._new_place()

    def _require_somebody(self) -> None:
        """Gives up when the cluster has provided no worker for too long.

        Raises:
            WorkerError: None is there, and the time for it is over.
        """
        if any(place.is_ready for place in self._places):
            self._without_since = None
            return
        now = time.monotonic()
        if self._without_since is None:
            self._without_since = now
        if now - self._without_since > self.running.worker_timeout:
            wanted = f"{self._cpus:g} CPU, {self.running.gpus:g} GPU"
            if self.running.memory_limit is not None:
                wanted += f", {self.running.memory_limit:g} GiB"
            raise WorkerError(
                f"the Ray cluster provided no worker for {self.running.worker_timeout:g} s",
                found=_told(self._ray.available_resources()) + " free",
                wanted=f"{wanted} on one of its machines",
                hint="ray status, fewer --jobs, --gpus, or a longer --worker-timeout",
            )


class _Place:
    """An actor, the slide it has, and the answer that is waited for."""

    def __init__(self, actor: Any, answer: Any) -> None:
        self.actor = actor
        self.answer = answer
        self.is_ready = False
        self.entry: SlideEntry | None = None
        self.started = 0.0


class _Server:
    """What runs in the cluster: one job, opened once."""

    def __init__(self, packed_job: bytes, version: str, folder: str) -> None:
        self.refusal: HvitError | None = None
        try:
            # Paths that were typed are meant from where they were typed.
            os.chdir(folder)
            if version != __version__:
                raise WorkerError(
                    "the machines of the cluster have different versions of hvit",
                    found=__version__,
                    wanted=version,
                )
            self.job: SlideJob[Any] = pickle.loads(packed_job)
            self.step = self.job.open()
        except HvitError as error:
            self.refusal = error
        except OSError as error:
            self.refusal = WorkerError(
                "a machine of the cluster does not have the folder of this command",
                where=folder,
                found=error.strerror or error,
            )

    def why_not(self) -> HvitError | None:
        """Why the job can be done on no slide; None where it can."""
        return self.refusal

    def do(self, entry: SlideEntry) -> Outcome[Any]:
        """Does one slide."""
        outcome = attempt(entry, self.step, self.job.stage, self.job.work)
        if outcome.product is None:
            return outcome
        return replace(outcome, product=self.job.light(outcome.product))


def share_of_cluster(
    total: dict[str, float], running: RunSettings, slides: int
) -> tuple[float, int]:
    """CPUs for each worker, and how many workers a cluster is asked for.

    Args:
        total: Ray's count of the cluster's resources.
        running: `jobs` and `gpus`.
        slides: Slides of the run.
    """
    cpus = max(1, int(total.get("CPU", 1)))
    fitting = int(total.get("GPU", 0) / running.gpus) if running.gpus else cpus
    count = max(1, min(running.jobs or fitting, slides))
    return 1.0 if running.jobs == 0 and not running.gpus else max(1.0, cpus // count), count


def _connected() -> Any:
    try:
        import ray
    except ImportError as error:
        raise WorkerError(
            "Ray is not installed", where="--engine ray", hint="pip install 'hvit[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(
                address=os.environ.get("RAY_ADDRESS", "auto"),
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkerError(
                "no Ray cluster can be reached",
                where="--engine ray",
                found=_first_line(error),
                hint="ray start --head here, or RAY_ADDRESS=host:6379",
            ) from error
    return ray


def _as_error(answer: object) -> HvitError:
    if isinstance(answer, HvitError):
        return answer
    raise TypeError(f"a worker answered {answer!r}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _told(resources: dict[str, float]) -> str:
    named = {name: resources.get(name, 0.0) for name in ("CPU", "GPU")}
    return ", ".join(f"{count:g} {name}" for name, count in named.items())
