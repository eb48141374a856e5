"""Downloads and archives under every fault that was thought of: what is left behind is whole, or nothing."""

import gzip
import hashlib
import io
import multiprocessing
import os
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from tda.data import download
from tda.data.download import FetchError, fetch, gunzip, unpack

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """A file server that can be told to misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True  # whether it can begin in the middle
        self.breaks: list[int] = []  # after how many bytes each of the next answers is cut off
        self.status = 200
        self.asked: list[str | None] = []  # the Range header of each request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if server.status != 200:
            self.send_error(server.status)
            return
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def visible(folder: Path) -> list[str]:
    """What a folder holds but for hidden files."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".") if folder.exists() else []


class TestFetch:
    def test_the_file_arrives_and_is_not_asked_for_again(self, server: Server, tmp_path: Path) -> None:
        for _ in range(2):
            path = fetch(server.url, tmp_path / "sub" / "file", SHA256)
            assert path.read_bytes() == CONTENT
        assert server.asked == [None]

    def test_a_broken_connection_is_resumed(self, server: Server, tmp_path: Path) -> None:
        server.breaks = [1_000_000, 500_000]
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]

    def test_the_next_command_goes_on_where_the_last_one_gave_up(self, server: Server, tmp_path: Path) -> None:
        server.breaks = [700_000]
        with pytest.raises(FetchError, match=r"ended after 700,000 of 3,000,000 bytes; 700,000 bytes are kept"):
            fetch(server.url, tmp_path / "file", SHA256, attempts=1)
        assert visible(tmp_path) == []
        fetch(server.url, tmp_path / "file", SHA256)
        assert server.asked[-1] == "bytes=700000-"

    def test_a_server_without_ranges_begins_again(self, server: Server, tmp_path: Path) -> None:
        server.ranges = False
        server.breaks = [1_000_000]
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=1000000-"]

    def test_a_part_that_is_whole_already_is_only_checked(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / ".file.part").write_bytes(CONTENT)
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT)}-"]

    def test_a_part_of_a_longer_file_is_thrown_away(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / ".file.part").write_bytes(CONTENT + b"more")
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT

    def test_another_file_than_expected_is_removed(self, server: Server, tmp_path: Path) -> None:
        with pytest.raises(
            FetchError, match=r"another file than expected, which was removed: .* has sha256 \w+, expected 00"
        ):
            fetch(server.url, tmp_path / "file", "sha256:00")
        assert visible(tmp_path) == []
        assert not (tmp_path / ".file.part").exists()

    def test_a_part_of_another_version_is_found_out(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / ".file.part").write_bytes(b"x" * 1000)
        with pytest.raises(FetchError, match="another file"):
            fetch(server.url, tmp_path / "file", SHA256)
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT

    def test_md5_where_there_is_no_better(self, server: Server, tmp_path: Path) -> None:
        fetch(server.url, tmp_path / "file", "md5:" + hashlib.md5(CONTENT).hexdigest())

    @pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3)])
    def test_what_the_server_says_is_passed_on(
        self, status: int, requests: int, server: Server, tmp_path: Path
    ) -> None:
        server.status = status
        with pytest.raises(FetchError, match=f"the server answers {status}"):
            fetch(server.url, tmp_path / "file", SHA256, attempts=3)
        assert len(server.asked) == requests

    def test_no_server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "PAUSE", 0.001)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
            with pytest.raises(FetchError, match="refused"):
                fetch(url, tmp_path / "file", SHA256, attempts=2)

    def test_only_the_web_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match="https://"):
            fetch("file:///etc/passwd", tmp_path / "file", SHA256)

    def test_full_disk(self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "open", full_after(Path.open, 2))
        with pytest.raises(FetchError, match="No space left on device"):
            fetch(server.url, tmp_path / "file", SHA256)
        monkeypatch.undo()
        assert visible(tmp_path) == []
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT

    def test_interrupted_by_the_user(self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(path: Path, known: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url, tmp_path / "file", SHA256)
        monkeypatch.undo()
        assert visible(tmp_path) == []
        assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT

    def test_two_processes_download_once(self, server: Server, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        both = [context.Process(target=fetch, args=(server.url, tmp_path / "file", SHA256)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        assert (tmp_path / "file").read_bytes() == CONTENT
        assert server.asked == [None]

    def test_a_folder_that_cannot_be(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("")
        with pytest.raises(FetchError, match="cannot write below"):
            fetch(server.url, tmp_path / "plain" / "file", SHA256)


def full_after(real: Any, writes: int) -> Any:
    """A `Path.open` whose binary files take a number of writes, as on a disk that is nearly full."""

    def open_(path: Path, *args: Any, **kwargs: Any) -> Any:
        file = real(path, *args, **kwargs)
        if args and args[0] in ("wb", "ab", "xb"):
            left = iter(range(writes))
            write = file.write

            class Full:
                def __enter__(self) -> "Full":
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def tell(self) -> int:
                    return int(file.tell())

                def write(self, block: bytes) -> int:
                    if next(left, None) is None:
                        raise OSError(28, os.strerror(28))
                    return int(write(block))

            return Full()
        return file

    return open_


def test_gunzip_leaves_only_the_content(tmp_path: Path) -> None:
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    gunzip(packed, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_gunzip_of_half_a_file(tmp_path: Path) -> None:
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(CONTENT)[:1000])
    with pytest.raises(FetchError, match="broken"):
        gunzip(packed, tmp_path / "file")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.gz"]


FILES = {"set/amazon/bike/1.jpg": b"one", "set/amazon/bike/2.jpg": b"two", "set/dslr/bike/1.jpg": b"three"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(path: Path, kind: bytes, target: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("set/amazon/evil")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return path


def linked_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("set/amazon/evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


FAULTS = {
    "out of the folder, tar": (lambda p: tarred(p, {"set/amazon/1": b"", "../evil": b"x"}), "outside the folder"),
    "out of the folder, zip": (lambda p: zipped(p, {"set/amazon/1": b"", "a/../../evil": b"x"}), "outside"),
    "backslashes": (lambda p: zipped(p, {"..\\evil": b"x"}), "outside the folder"),
    "absolute, tar": (lambda p: tarred(p, {str(p.parent.absolute() / "evil"): b"x"}), "/evil' would lie outside"),
    "absolute, zip": (lambda p: zipped(p, {str(p.parent.absolute() / "evil"): b"x"}), "/evil' would lie outside"),
    "a drive": (lambda p: zipped(p, {"C:/evil": b"x"}), "outside the folder"),
    "symbolic link, tar": (lambda p: special(p, tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
    "hard link, tar": (lambda p: special(p, tarfile.LNKTYPE, "set/amazon/1"), "is a link or a device"),
    "device, tar": (lambda p: special(p, tarfile.CHRTYPE), "is a link or a device"),
    "pipe, tar": (lambda p: special(p, tarfile.FIFOTYPE), "is a link or a device"),
    "symbolic link, zip": (linked_zip, "is a link or a device"),
    "the same name twice": (lambda p: twice(p), "twice"),
    "half a tar": (lambda p: cut(tarred(p, {"set/amazon/1": CONTENT})), "cut off"),
    "half a zip": (lambda p: cut(zipped(p, {"set/amazon/1": CONTENT})), "cut off"),
    "a flipped byte": (lambda p: flipped(zipped(p, {"set/amazon/1": CONTENT})), "cut off"),
    "no archive": (lambda p: written(p, b"<html>sign in</html>"), "no zip or tar archive"),
    "an empty file": (lambda p: written(p, b""), "no zip or tar archive|expected amazon"),
    "another set": (lambda p: zipped(p, {"cats/1.jpg": b"x"}), "expected amazon or dslr in the archive, found cats"),
    "nothing": (lambda p: p, "no file"),
}  # fmt: skip


class TestUnpack:
    @pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
    def test_every_kind_and_the_only_folder_is_opened(self, mode: str, tmp_path: Path) -> None:
        archive = zipped(tmp_path / "a", FILES) if mode == "zip" else tarred(tmp_path / "a", FILES, mode)
        folder = unpack([archive], tmp_path / "data" / "office31", ["amazon", "dslr"])
        there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}
        assert {f"set/{name}": content for name, content in there.items()} == FILES
        assert visible(tmp_path / "data") == ["office31"]
        assert stat.S_IMODE(folder.stat().st_mode) & 0o500 == 0o500

    def test_several_archives_make_one_folder(self, tmp_path: Path) -> None:
        archives = [tarred(tmp_path / name, {f"{name}/bus/1.png": b"1"}) for name in ("train", "validation")]
        unpack(archives, tmp_path / "data", ["train", "validation"])
        assert visible(tmp_path / "data") == ["train", "validation"]

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_bad_archive_leaves_nothing(self, fault: str, tmp_path: Path) -> None:
        make, message = FAULTS[fault]
        archive = make(tmp_path / "archive")
        with pytest.raises(FetchError, match=message) as raised:
            unpack([archive], tmp_path / "data" / "office31", ["amazon", "dslr"])
        assert "\n" not in str(raised.value)
        assert [entry.name for entry in (tmp_path / "data").iterdir()] in ([], [".office31.lock"])
        assert not (tmp_path / "evil").exists()

    def test_what_is_there_is_never_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "office31").mkdir()
        with pytest.raises(FetchError, match="exists already; remove it first"):
            unpack([zipped(tmp_path / "a", FILES)], tmp_path / "office31", ["amazon"])

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = zipped(tmp_path / "a", FILES | {"set/amazon/big": CONTENT})
        monkeypatch.setattr(Path, "open", full_after(Path.open, 1))
        with pytest.raises(FetchError, match="No space left on device"):
            unpack([archive], tmp_path / "data" / "office31", ["amazon"])
        assert visible(tmp_path / "data") == []

    def test_interrupted_by_the_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(source: IO[bytes], target: IO[bytes], length: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(download.shutil, "copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            unpack([zipped(tmp_path / "a", FILES)], tmp_path / "data" / "office31", ["amazon"])
        assert [entry.name for entry in (tmp_path / "data").iterdir()] in ([], [".office31.lock"])

    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        left = tmp_path / "data" / ".office31.unpacking-abc"
        left.mkdir(parents=True)
        (left / "half").write_text("")
        unpack([zipped(tmp_path / "a", FILES)], tmp_path / "data" / "office31", ["amazon"])
        assert not left.exists()


def twice(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for content in (b"one", b"two"):
            info = tarfile.TarInfo("set/amazon/1")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def cut(path: Path) -> Path:
    return written(path, path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    return written(path, bytes(content))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
