"""Files are written whole or not at all, whatever goes wrong and whoever else writes."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from camshaft.atomic import check_writable, write_atomically

BIG = 1 << 20  # more than any buffer, so that a draft holds part of it


def test_parts_follow_each_other_in_a_new_file_and_over_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"one ", memoryview(b"two"))
    assert path.read_bytes() == b"one two"
    write_atomically(str(path), b"3", durable=True)
    assert path.read_bytes() == b"3"
    write_atomically(path)
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["f"]


def test_a_path_may_lack_a_folder_and_have_the_longest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "é" * (os.pathconf(tmp_path, "PC_NAME_MAX") // 2)
    write_atomically(name, b"here", durable=True)
    assert os.listdir(tmp_path) == [name]


def test_data_that_does_not_fit_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BIG // 2, hard))
    try:
        with pytest.raises(OSError) as caught:
            write_atomically(path, b"new", b"x" * BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_after_writing_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, failing: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert len(os.listdir(tmp_path)) == 2, "the draft should be there by now"
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, b"new", durable=True)
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_link_is_kept_and_what_it_names_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "f")  # of which there is nothing yet
    for data in (b"1", b"2"):
        write_atomically(link, data)
        assert link.is_symlink() and (tmp_path / "real" / "f").read_bytes() == data
    assert os.listdir(tmp_path / "real") == ["f"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomically(pipe, b"down ", b"the pipe")
    reader.join(timeout=10)
    assert got == [b"down the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        write_atomically(tmp_path / "f", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask


def test_readers_and_writers_at_once_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"-" * BIG)
    errors: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(20):
                write_atomically(path, letter * BIG)
        except BaseException as error:  # noqa: BLE001  handed to the test's thread
            errors.append(error)

    writers = [threading.Thread(target=write, args=(c,)) for c in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        data = path.read_bytes()
        assert len(data) == BIG and data.count(data[:1]) == BIG
        seen.add(data[:1])
    for writer in writers:
        writer.join()
    assert not errors
    assert len(seen) > 1, "no write fell between two reads"
    assert os.listdir(tmp_path) == ["f"]


def test_where_nothing_can_be_written_the_system_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "f", b"")
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, b"")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_atomically(tmp_path / "file" / "f", b"")
    (tmp_path / "file").unlink()
    assert os.listdir(tmp_path) == []


def test_a_directory_without_write_permission_is_an_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError):
        write_atomically(closed / "f", b"")
    assert os.listdir(closed) == []


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new")
    check_writable("/dev/null")
    for path, number in (
        (tmp_path, errno.EISDIR),
        (tmp_path / "no" / "file", errno.ENOENT),
        (tmp_path / "file" / "file", errno.ENOTDIR),
    ):
        with pytest.raises(OSError) as caught:
            check_writable(path)
        assert caught.value.errno == number
    assert os.listdir(tmp_path) == ["file"]
