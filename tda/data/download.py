"""Files from the web and archives: resumed, checked, unpacked safely, and usable only once whole."""

import gzip
import hashlib
import http.client
import lzma
import os
import shutil
import ssl
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from filelock import FileLock
from tqdm import tqdm

from tda.cache import atomic

ATTEMPTS = 5
PAUSE = 2.0  # seconds before the second attempt; doubled before each further one
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20
BROKEN_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
BROKEN_CONNECTION = (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError)


class FetchError(Exception):
    """Something outside the command failed: a server, a disk, a file that is not what it should be."""


def fetch(url: str, path: Path, known: str, attempts: int = ATTEMPTS) -> Path:
    """Download a file to `path` unless it is there; what a broken attempt has got is kept and continued.

    Of two processes one downloads and the other waits. `path` exists only with the right content.

    Parameters
    ----------
    url : str
        Of ``http`` or ``https``.
    path : Path
        The file wanted.
    known : str
        Its hash: ``sha256:0123...`` or, where its owners publish no other, ``md5:0123...``.
    attempts : int
        How often a broken connection is tried again.

    Raises
    ------
    FetchError
        The server does not give the file, the disk is full, or the file has another hash.
    """
    if not url.startswith(("https://", "http://")):
        raise FetchError(f"{url!r}: expected an address that begins with https:// or http://")
    with writing(path), FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            part = path.with_name(f".{path.name}.part")
            receive_all(url, part, attempts)
            try:
                check(part, known)
            except FetchError as error:
                part.unlink()
                raise FetchError(f"{url} gave another file than expected, which was removed: {error}") from error
            part.replace(path)
    return path


def check(path: Path, known: str) -> None:
    """Compare a file with its hash ``ALGORITHM:HEX``.

    Raises
    ------
    FetchError
        They differ.
    """
    algorithm, _, expected = known.partition(":")
    with path.open("rb") as file:
        given = hashlib.file_digest(file, algorithm).hexdigest()
    if given != expected.lower():
        raise FetchError(f"{path.name} has {algorithm} {given}, expected {expected}")


def receive_all(url: str, part: Path, attempts: int) -> None:
    """Receive a file into `part`, going on after each break from where it came."""
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return receive(url, part)
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {error.reason}"
            if error.code < 500:
                break
        except BROKEN_CONNECTION as error:
            problem = str(error) or type(error).__name__
    got = f"; {part.stat().st_size:,} bytes are kept, and the same command goes on from there" if part.exists() else ""
    raise FetchError(f"{url}: {problem}{got}")


def receive(url: str, part: Path) -> None:
    """Receive what `part` lacks of a file in one connection, or the whole where the server cannot give a rest of it.

    Raises
    ------
    ConnectionError
        The connection ended early.
    """
    done = part.stat().st_size if part.exists() else 0
    wanted = {"Range": f"bytes={done}-"} if done else {}
    try:
        reply = urllib.request.urlopen(urllib.request.Request(url, headers=wanted), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") != f"bytes */{done}":  # else nothing is left to receive
            part.unlink()
            receive(url, part)
        return
    with reply:
        resumed = str(reply.headers.get("Content-Range", "")).startswith(f"bytes {done}-")
        start = done if resumed else 0
        length = reply.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        bar = tqdm(total=total, initial=start, desc=part.name[1:-5], unit="B", unit_scale=True, disable=None)
        with part.open("ab" if resumed else "wb") as file, bar:
            while block := reply.read(CHUNK):
                file.write(block)
                bar.update(len(block))
            written = file.tell()
    if total is not None and written < total:
        raise ConnectionError(f"the connection ended after {written:,} of {total:,} bytes")


def gunzip(archive: Path, path: Path) -> None:
    """Write what a gzip file holds to `path`, then remove it."""
    try:
        with writing(path), atomic(path) as temporary, gzip.open(archive) as packed, temporary.open("wb") as file:
            shutil.copyfileobj(packed, file, CHUNK)
    except (*BROKEN_ARCHIVE, gzip.BadGzipFile) as error:
        raise FetchError(f"{archive} is broken ({error}); remove it and fetch it again") from error
    archive.unlink()


def unpack(archives: Sequence[Path], folder: Path, holding: Collection[str]) -> Path:
    """Unpack archives together into a new folder, which appears once all are whole.

    Only files and folders below it are made: an archive with an absolute path, a ``..``, a link or a device is refused.
    What a process left that was killed while it unpacked is removed.

    Parameters
    ----------
    archives : sequence of Path
        Of zip or tar, plain or compressed.
    folder : Path
        What to make; it must not exist.
    holding : collection of str
        Names of which `folder` holds one at least; where none lies on top, the only folder there is opened.

    Raises
    ------
    FetchError
        An archive is broken or unsafe, does not hold what it should, or the disk is full; then nothing is left behind.
    """
    with writing(folder), FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            raise FetchError(f"{str(folder)!r} exists already; remove it first, or choose another --data PATH")
        for abandoned in folder.parent.glob(f".{folder.name}.unpacking-*"):
            shutil.rmtree(abandoned)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.unpacking-"))
        try:
            for archive in archives:
                extract(archive, staging)
            inner = opened(staging, holding)
            if inner is None:
                there = ", ".join(sorted(entry.name for entry in staging.iterdir())) or "nothing"
                raise FetchError(f"expected {' or '.join(holding)} in the archive, found {there}")
            inner.chmod(0o755)
            inner.replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def opened(folder: Path, holding: Collection[str]) -> Path | None:
    """Return `folder` or the only folder below it that has one of the names; None if there is none."""
    while not any((folder / name).exists() for name in holding):
        inner = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name not in ("__MACOSX", ".git")]
        if len(inner) != 1:
            return None
        folder = inner[0]
    return folder


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    kind: str  # file, folder, or what else it is
    open: Callable[[], IO[bytes] | None]


def extract(archive: Path, folder: Path) -> None:
    """Write an archive's files below `folder`.

    Raises
    ------
    FetchError
        The archive is broken, or one of its members is unsafe.
    """
    if not archive.is_file():
        raise FetchError(f"no file {str(archive)!r}")
    try:
        for member in tqdm(members(archive), desc=archive.name, unit=" files", disable=None):
            target = place(member, folder, archive)
            (target if member.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == "file" and (content := member.open()) is not None:
                with content, target.open("xb") as file:
                    shutil.copyfileobj(content, file, CHUNK)
    except BROKEN_ARCHIVE as error:
        reason = str(error).partition("\n")[0].rstrip(": ") or type(error).__name__
        raise FetchError(f"{archive} is no zip or tar archive, or is cut off ({reason}); get it again") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise FetchError(f"{archive} holds {str(error.filename)!r} twice; nothing was unpacked") from error


def members(archive: Path) -> Iterator[Member]:
    """Yield the members of a zip or tar archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                mode = stat.S_IFMT(info.external_attr >> 16)
                other = "" if mode in (0, stat.S_IFREG, stat.S_IFDIR) else "a link or a device"
                kind = other or ("folder" if info.is_dir() else "file")
                yield Member(info.filename, kind, lambda info=info: packed.open(info))  # type: ignore[misc]
    else:
        with tarfile.open(archive) as stream:
            for entry in stream:
                kind = "file" if entry.isreg() else "folder" if entry.isdir() else "a link or a device"
                yield Member(entry.name, kind, lambda entry=entry: stream.extractfile(entry))  # type: ignore[misc]


def place(member: Member, folder: Path, archive: Path) -> Path:
    """Return where a member belongs below `folder`, refusing what would lie elsewhere or is no file."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(member.name).drive or "\0" in member.name:
        raise FetchError(f"{archive}: {member.name!r} would lie outside the folder; nothing was unpacked")
    if member.kind not in ("file", "folder"):
        raise FetchError(f"{archive}: {member.name!r} is {member.kind}; nothing was unpacked")
    return folder / path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`, and say in one line what keeps a file from being written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if isinstance(error, ConnectionError | TimeoutError):
            raise
        where = os.fspath(path.parent)
        raise FetchError(
            f"cannot write below {where!r}: {error.strerror or error}; nothing unfinished is used"
        ) from error
