from __future__ import annotations

import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hvit_cli.errors import StorageError
from hvit_cli.storage.atomic import (
    TEMPORARY_PREFIX,
    require_writable,
    whole_file,
    write_bytes,
    write_text,
)

_LOCK = runpy.run_path(str(Path(__file__).parents[1] / "faults" / "read_only.py"))


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(TEMPORARY_PREFIX)]


def test_writes_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "µm\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "µm\n".encode()
    assert leftovers(tmp_path / "new") == []


def test_a_failing_block_leaves_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"old")
    with pytest.raises(ValueError, match="half way"), whole_file(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"ne")
        raise ValueError("half way")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_the_temporary_lies_in_the_same_folder_with_the_same_suffix(tmp_path: Path) -> None:
    with whole_file(tmp_path / "mask.ome.tiff") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tiff"
        assert not (tmp_path / "mask.ome.tiff").exists()
        temporary.write_bytes(b"x")


def test_a_block_that_writes_nothing_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"), whole_file(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("not a folder")
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "work" / "a.txt", "x")
    message = str(caught.value)
    assert str(tmp_path / "work" / "a.txt") in message
    assert "\n" not in message


def test_a_read_only_folder_is_one_line_and_known_before_any_work(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    write_text(folder / "old.txt", "old")
    with _LOCK["locked"](folder):
        for refused in (folder, folder / "new" / "below"):
            with pytest.raises(StorageError, match="Permission denied") as caught:
                require_writable(refused)
            assert str(caught.value).startswith(f"{refused}: ")
        with pytest.raises(StorageError, match="Permission denied"):
            write_text(folder / "a.txt", "x")
    require_writable(folder / "new" / "below")
    assert [path.name for path in folder.iterdir()] == ["old.txt"]


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(StorageError, match="Not a directory"):
        require_writable(tmp_path / "file" / "below")


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(StorageError, match="No space left"), whole_file(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_file_has_the_permissions_of_the_umask_whoever_wrote_it(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        with whole_file(tmp_path / "weights") as temporary:
            # As safetensors does: readable by the owner alone.
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o666 & ~mask


def test_the_first_write_to_a_folder_sweeps_what_a_killed_process_left(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from hvit_cli.storage.atomic import whole_file\n"
        "with whole_file(Path(sys.argv[1]) / 'a.h5') as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert len(leftovers(tmp_path)) == 1
    write_text(tmp_path / "b.txt", "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
