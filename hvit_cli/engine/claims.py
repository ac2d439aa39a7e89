"""Who works on which slide, among processes that know nothing of each other but one folder.

A claim is a file `claims/<stage>/<slide_id>.json` that exists while a process works on the
slide. It is made with O_EXCL, which one process alone can do, on NFS version 3 and later too.
Its modification time is the process's sign of life, renewed while the process lives; a claim
whose sign of life is too old belongs to nobody. Times are compared on the clock of the file
server, by touching a file of one's own, so that the clocks of the machines do not matter.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from hvit_cli.errors import StorageError
from hvit_cli.storage.processes import start_of, this_system

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_LONGEST_BEAT_S = 30.0
_BEATS_PER_TTL = 6
_LONGEST_NAME = 200
_MKDIR_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a claim file says.

    Attributes:
        slide_id: The slide.
        host: Name of the machine.
        process_id: Process on that machine.
        machine: Running system and process namespace, within which `process_id` has a meaning.
        process_start: When the process began, by the machine's count; tells it from a later
            one with the same number.
        token: Made for this claim alone.
    """

    slide_id: str
    host: str
    process_id: int
    machine: str
    process_start: str
    token: str

    @property
    def holder(self) -> str:
        """The process, for people."""
        return f"{self.host}:{self.process_id}"


def _make(folder: Path) -> None:
    """Makes the folder of claims, which whoever gives back the last claim may just be removing."""
    for _ in range(_MKDIR_TRIES - 1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            if folder.is_file():
                raise
        else:
            return
    folder.mkdir(parents=True, exist_ok=True)


class Claims:
    """The claims of this process in one folder, kept alive by a thread until `close`.

    Args:
        folder: Where the claims lie.
        ttl_s: Age of the last sign of life from which on a claim is stale.
    """

    def __init__(self, folder: Path, ttl_s: float) -> None:
        self.folder = folder
        self.ttl_s = ttl_s
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._me = (platform.node() or "host", os.getpid(), this_system(), start_of(os.getpid()))
        try:
            _make(folder)
        except OSError as error:
            raise StorageError(
                "the folder of claims cannot be made",
                where=folder,
                found=error.strerror or error,
                hint="another folder with -w, or --no-claim where no other process works on it",
            ) from error
        threading.Thread(target=self._beat, daemon=True, name="hvit-claims").start()

    def take(self, slide_id: str) -> bool:
        """Claims a slide; False where another living process has it."""
        path = claim_path(self.folder, slide_id)
        # Twice, because a stale claim is put aside first.
        for _ in range(2):
            if self._create(path, slide_id):
                return True
            seen = _read(path)
            if seen is None:
                continue
            text, age_of = seen
            if not self._is_stale(text, age_of) or not self._put_aside(path, text):
                return False
        return False

    def holder(self, slide_id: str) -> str | None:
        """The process that has a slide, as host:pid; None where nobody has it."""
        seen = _read(claim_path(self.folder, slide_id))
        claim = _parsed(seen[0]) if seen else None
        return claim.holder if claim else None

    def release(self, slide_id: str) -> None:
        """Gives a slide back, unless another process has taken it over meanwhile."""
        with self._lock:
            claim = self._held.pop(slide_id, None)
        path = claim_path(self.folder, slide_id)
        if claim is not None and _is_still(path, claim):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives every slide back and ends the signs of life."""
        self._over.set()
        for slide_id in list(self._held):
            self.release(slide_id)
        # Others may be using the folders, which then are not empty.
        for folder in (self.folder, self.folder.parent):
            with suppress(OSError):
                folder.rmdir()

    def _create(self, path: Path, slide_id: str) -> bool:
        host, process_id, machine, start = self._me
        claim = Claim(
            slide_id=slide_id,
            host=host,
            process_id=process_id,
            machine=machine,
            process_start=start,
            token=secrets.token_hex(8),
        )
        try:
            descriptor = _kept_trying(
                self.folder, lambda: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            )
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(
                "a slide cannot be claimed", where=path, found=error.strerror or error
            ) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(claim)))
        with self._lock:
            self._held[slide_id] = claim
        return True

    def _is_stale(self, text: str, touched: float) -> bool:
        claim = _parsed(text)
        is_here = claim is not None and claim.machine == self._me[2]
        # On the same system it is known at once whether the process lives.
        if claim and is_here and start_of(claim.process_id) != claim.process_start:
            return True
        return server_time(self.folder) - touched > self.ttl_s

    def _put_aside(self, path: Path, stale_text: str) -> bool:
        """Removes a stale claim, and no other that was put in its place meanwhile.

        Several may try at once. Only the one that makes the heir's file of this very claim may
        remove it, and looks again first: what it then removes cannot have been replaced, because
        nobody else may make room for another.
        """
        digest = hashlib.sha256(f"{path.name}\n{stale_text}".encode()).hexdigest()
        heir = path.with_name(f".heir-{digest[:32]}")
        try:
            os.close(os.open(heir, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileNotFoundError:
            return False  # the folder was given up: nothing is left to take over
        except FileExistsError:
            self._forget_dead_heir(heir)
            return False
        try:
            seen = _read(path)
            if seen is not None and seen[0] == stale_text:
                path.unlink(missing_ok=True)
        finally:
            heir.unlink(missing_ok=True)
        return True

    def _forget_dead_heir(self, heir: Path) -> None:
        """Makes way for another heir where one was killed in the act."""
        seen = _read(heir)
        if seen is not None and server_time(self.folder) - seen[1] > self.ttl_s:
            heir.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(min(_LONGEST_BEAT_S, self.ttl_s / _BEATS_PER_TTL)):
            with self._lock:
                held = dict(self._held)
            for slide_id, claim in held.items():
                self._renew(slide_id, claim)

    def _renew(self, slide_id: str, claim: Claim) -> None:
        path = claim_path(self.folder, slide_id)
        try:
            if _is_still(path, claim):
                os.utime(path)
                return
        except OSError as error:
            _LOG.warning("%s: no sign of life could be given: %s", path, error.strerror)
            return
        with self._lock:
            lost = self._held.get(slide_id) is claim
            if lost:
                del self._held[slide_id]
        if lost:
            _LOG.warning(
                "%s was taken over by another process, because this one gave no sign of life "
                "for %g s",
                slide_id,
                self.ttl_s,
            )


def claim_path(folder: Path, slide_id: str) -> Path:
    """Where the claim of a slide lies; no name of a slide leads out of the folder."""
    name = urllib.parse.quote(slide_id, safe=" ()+,@")
    if len(name) > _LONGEST_NAME:
        # A letter outside ASCII takes six to twelve characters here.
        digest = hashlib.sha256(slide_id.encode(errors="surrogateescape")).hexdigest()
        name = f"{name[: _LONGEST_NAME - 33]}-{digest[:32]}"
    return folder / f"{name}.json"


def read_claims(folder: Path) -> list[tuple[Claim, float]]:
    """Every claim in a folder, with the seconds since its last sign of life.

    Where the folder may only be looked at, the ages are by the clock of this machine.
    """
    if not folder.is_dir():
        return []
    try:
        now = server_time(folder)
    except StorageError as error:
        _LOG.info("%s; this machine's clock is taken", error)
        now = time.time()
    found = []
    for path in sorted(folder.glob("*.json")):
        seen = _read(path)
        claim = _parsed(seen[0]) if seen else None
        if seen is not None and claim is not None:
            found.append((claim, now - seen[1]))
    return found


@contextmanager
def alone(folder: Path, name: str, *, ttl_s: float = 60.0) -> Iterator[None]:
    """Lets one process at a time do what follows, such as adding rows to a common table."""
    claims = Claims(folder, ttl_s)
    try:
        while not claims.take(name):
            time.sleep(0.05)
        yield
    finally:
        claims.close()


def server_time(folder: Path) -> float:
    """The time on the clock that stamps the files of a folder."""
    own = folder / f".clock-{secrets.token_hex(6)}"
    try:
        _kept_trying(folder, own.touch)
        moment = own.stat().st_mtime
        own.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            "the clock of this folder cannot be read, which needs a file of ours in it",
            where=folder,
            found=error.strerror or error,
        ) from error
    return moment


def _kept_trying(folder: Path, make: Callable[[], T]) -> T:
    """Makes a file in a folder that another process may remove while it is empty."""
    for _ in range(_MKDIR_TRIES):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return make()
    return make()


def _read(path: Path) -> tuple[str, float] | None:
    """A claim's text and last sign of life; None where it is gone.

    It is opened, because NFS asks the server for the times of files that are opened alone.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _parsed(text: str) -> Claim | None:
    """What a claim says; None for one that was never written to its end."""
    try:
        return Claim(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _is_still(path: Path, claim: Claim) -> bool:
    seen = _read(path)
    return seen is not None and _parsed(seen[0]) == claim
