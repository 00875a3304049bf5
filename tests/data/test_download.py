from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sif.data.download import Source, locate, search_folders, unpack
from sif.errors import DataError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIF_DATA_DIR", raising=False)
    monkeypatch.setattr("sif.data.download.raw_folder", lambda: tmp_path / "raw")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


def make_zip(path: Path, members: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address at which the folder `www` is served."""
    (tmp_path / "www").mkdir()
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(tmp_path: Path, address: str) -> Source:
    path = make_zip(
        tmp_path / "www" / "d.zip", {"D/ratings.dat": "1::2::3::4", "__MACOSX/D/._x": "x"}
    )
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return Source(name="d", url=f"{address}d.zip", md5=md5, folder="D", files=("ratings.dat",))


@pytest.fixture
def files(tmp_path: Path, address: str) -> Source:
    """Two files that are published one by one."""
    contents = {"t.train.txt": "a b", "t.test.txt": "c d"}
    for name, text in contents.items():
        (tmp_path / "www" / name).write_text(text)
    md5s = {name: hashlib.md5(text.encode()).hexdigest() for name, text in contents.items()}
    return Source(name="t", url=address, md5s=md5s, folder="T", files=(*md5s,))


def test_download_goes_to_the_named_folder_once(served: Source, tmp_path: Path) -> None:
    folder, notes = locate(served, tmp_path / "mine")
    assert folder == tmp_path / "mine" / "D" and notes == [f"downloaded {served.url}"]
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["D"]
    assert (folder / "ratings.dat").read_text() == "1::2::3::4"
    assert locate(replace(served, url="http://127.0.0.1:9/d.zip"), tmp_path / "mine") == (
        folder,
        [],
    )


def test_download_without_a_checksum_is_told(served: Source, tmp_path: Path) -> None:
    folder, notes = locate(replace(served, md5=None), None)
    assert folder == tmp_path / "raw" / "D" and "no published checksum" in notes[0]


def test_a_wrong_checksum_leaves_nothing(served: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(ValueError: .*put d\.zip or the folder D/ there"):
        locate(replace(served, md5="0" * 32), None)
    assert not (tmp_path / "raw").exists()


def test_without_network_it_says_what_to_put_where(served: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        locate(replace(served, url="http://127.0.0.1:9/d.zip"), None)
    message = str(error.value)
    assert message.startswith(f"d: expected D/ratings.dat in one of: {tmp_path / 'raw'};")
    assert message.endswith("put d.zip or the folder D/ there")
    assert "\n" not in message and not (tmp_path / "raw").exists()


def test_folders_are_searched_in_order(
    served: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path / "env"))
    bases = search_folders(tmp_path / "mine")
    assert bases == [tmp_path / "mine", tmp_path / "env", tmp_path / "raw"]
    for base in reversed(bases):
        (base / "d").mkdir(parents=True)
        (base / "d" / "ratings.dat").write_text("x")
        assert locate(served, tmp_path / "mine")[0] == base / "d"
    assert locate(served, tmp_path / "mine" / "d")[0] == tmp_path / "mine" / "d"


def test_an_archive_put_by_hand_is_verified_and_kept(served: Source, tmp_path: Path) -> None:
    offline = replace(served, url="http://127.0.0.1:9/d.zip")
    (tmp_path / "raw").mkdir()
    by_hand = tmp_path / "raw" / "d.zip"
    by_hand.write_bytes((tmp_path / "www" / "d.zip").read_bytes())
    with pytest.raises(DataError, match=r"d\.zip: expected MD5 0+, found [0-9a-f]{32}$"):
        locate(replace(offline, md5="0" * 32), None)
    assert locate(offline, None)[0] == tmp_path / "raw" / "D"
    assert by_hand.exists()


def test_an_incomplete_folder_is_told(served: Source, tmp_path: Path) -> None:
    (tmp_path / "raw" / "D").mkdir(parents=True)
    with pytest.raises(DataError, match=r"ratings\.dat in it, found only some of them$"):
        locate(served, None)


def test_single_files_are_downloaded_together_and_once(files: Source, tmp_path: Path) -> None:
    folder, notes = locate(files, tmp_path / "mine")
    assert folder == tmp_path / "mine" / "T"
    assert notes == [f"downloaded {files.url}{{t.train.txt,t.test.txt}}"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["T"]
    assert (folder / "t.train.txt").read_text() == "a b"
    (tmp_path / "new").touch()
    assert (folder / "t.test.txt").stat().st_mode == (tmp_path / "new").stat().st_mode
    away = replace(files, url="http://127.0.0.1:9/")
    assert locate(away, tmp_path / "mine") == (folder, [])
    (folder / "t.test.txt").unlink()
    with pytest.raises(
        DataError, match=r"T: expected t\.train\.txt, t\.test\.txt in it, found only some"
    ):
        locate(away, tmp_path / "mine")


def test_one_bad_file_of_several_leaves_nothing(files: Source, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    bad = replace(files, md5s={**files.md5s, "t.test.txt": "0" * 32})
    with pytest.raises(DataError, match=r"\(ValueError: MD5 hash") as error:
        locate(bad, None)
    assert "\n" not in str(error.value) and not raw.exists()
    with pytest.raises(DataError) as error:
        locate(replace(files, url="http://127.0.0.1:9/"), None)
    message = str(error.value)
    assert message.startswith(
        f"t: expected T/t.train.txt in one of: {raw}; found none, and http://"
    )
    assert message.endswith("put t.train.txt, t.test.txt into T/ there")
    assert "\n" not in message and not raw.exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "D/../../evil", "C:/evil", "D\\..\\evil"])
def test_paths_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "a" / "d.zip", {"D/x": "x", name: "evil"})
    with pytest.raises(DataError, match="expected plain paths below it, found"):
        unpack(path, tmp_path / "out", "D")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("evil"))


def test_links_and_damage_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("D/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="found 'D/link'"):
        unpack(tmp_path / "link.zip", tmp_path / "out", "D")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"bad\.zip: expected a zip file, found: "):
        unpack(tmp_path / "bad.zip", tmp_path / "out", "D")
    with pytest.raises(DataError, match="expected the folder E/ in it, found none"):
        unpack(make_zip(tmp_path / "a" / "d.zip", {"D/x": "x"}), tmp_path / "out", "E")
    assert not (tmp_path / "out").exists()
