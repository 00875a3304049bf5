"""Corpora: from names and folders to numbered words, and what is refused."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.images.load import load_images
from sif.data.interactions.load import load_dataset
from sif.data.recipe import Recipe
from sif.data.text.corpus import EOS, UNK, Corpus, number
from sif.data.text.load import load_corpus
from sif.errors import DataError, ShapeError

TEXTS = {
    "train": "the cat sat\n the dog sat \nthe end\n",
    "valid": "the cow sat\n",
    "test": "a dog <unk>\nthe dog",
}
PLAIN = ("train.txt", "valid.txt", "test.txt")
WIKI = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found but what a test puts there."""
    monkeypatch.delenv("SIF_DATA_DIR", raising=False)
    monkeypatch.setattr("sif.data.download.raw_folder", lambda: tmp_path / "raw")


@pytest.fixture
def penn_mini(data_dir: Path) -> Path:
    """The folder penn-mini."""
    if not (data_dir / "penn-mini" / "train.txt").is_file():
        pytest.skip("needs penn-mini/train.txt in SIF_DATA_DIR")
    return data_dir / "penn-mini"


def write(folder: Path, names: tuple[str, ...] = PLAIN, **changes: str | bytes) -> Path:
    """A folder with the three texts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (part, text) in zip(names, TEXTS.items(), strict=True):
        content = changes.get(part, text)
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(raw)
    return folder


def spelled(corpus: Corpus, part: str) -> str:
    return " ".join(corpus.words[word] for word in corpus.parts[part])


def test_words_are_numbered_by_the_train_part_alone(tmp_path: Path) -> None:
    corpus = load_corpus(write(tmp_path / "mine"))
    assert corpus.name == "mine" and corpus.entropy is None
    assert corpus.words == ("<unk>", "<eos>", "the", "sat", "cat", "dog", "end")
    assert corpus.train.tolist() == [2, 4, 3, EOS, 2, 5, 3, EOS, 2, 6, EOS]
    assert spelled(corpus, "valid") == "the <unk> sat <eos>"
    assert spelled(corpus, "test") == "<unk> dog <unk> <eos> the dog <eos>"
    assert corpus.notes == (
        "valid: 1 of 4 words are not in the train part: now <unk>",
        "test: 1 of 7 words are not in the train part: now <unk>",
    )
    assert corpus.description() == {
        "name": "mine", "content_hash": corpus.content_hash, "words": 7,
        "tokens": {"train": 11, "valid": 4, "test": 7},
    }  # fmt: skip


def test_a_part_of_unknown_words_alone_is_told_of(tmp_path: Path) -> None:
    corpus = load_corpus(write(tmp_path, valid="x y\nz\n"))
    (note,) = [note for note in corpus.notes if note.startswith("valid")]
    assert note == (
        "valid: none of its 3 words is known (not in the train part): all are now <unk>, and a "
        "perplexity on them says little"
    )


def test_the_most_frequent_words_are_kept(tmp_path: Path) -> None:
    corpus = load_corpus(write(tmp_path), max_words=4)
    assert corpus.words == ("<unk>", "<eos>", "the", "sat")
    assert spelled(corpus, "train") == ("the <unk> sat <eos> the <unk> sat <eos> the <unk> <eos>")
    assert corpus.notes[0] == "train: 3 of 11 words are not among the 4 that are kept: now <unk>"
    assert len(load_corpus(tmp_path, max_words=7).words) == 7
    assert load_corpus(tmp_path, max_words=9).notes == load_corpus(tmp_path).notes
    for size in (3, 0, -1):
        with pytest.raises(DataError, match=rf"^most words: expected at least 4, .*found {size}$"):
            load_corpus(tmp_path, max_words=size)


@given(
    st.lists(st.sampled_from("abcde"), min_size=8).filter(lambda words: len(set(words)) > 1),
    st.lists(st.sampled_from("abcdefg"), min_size=1),
    st.one_of(st.none(), st.integers(4, 9)),
)
def test_numbers_stand_for_their_words(
    train: list[str], other: list[str], most: int | None
) -> None:
    corpus = number("x", {"train": train, "valid": other, "test": train}, "x", most)
    assert len(set(corpus.words)) == len(corpus.words) <= (most or 9)
    for part, words in (("train", train), ("valid", other)):
        kept = [word if word in corpus.words else "<unk>" for word in words]
        assert spelled(corpus, part).split() == kept
    counts = Counter(train)
    order = sorted(counts, key=lambda word: (-counts[word], train.index(word)))
    assert list(corpus.words[2:]) == order[: len(corpus.words) - 2]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_blank_lines_are_skipped_but_for_wikitext(tmp_path: Path, ends: str) -> None:
    text = ends.join(["\ufeff", " a  b\t", "", "b a a", " ", ""])
    corpus = load_corpus(write(tmp_path / "plain", train=text))
    assert spelled(corpus, "train") == "a b <eos> b a a <eos>"
    assert corpus.notes[0] == "train.txt: 3 blank lines skipped"
    wiki = load_corpus(write(tmp_path / "wiki", WIKI, train=text))
    assert spelled(wiki, "train") == "<eos> a b <eos> <eos> b a a <eos> <eos>"
    assert not any("blank" in note for note in wiki.notes)


def test_lines_end_where_files_say_so(tmp_path: Path) -> None:
    text = "a\u2028b\x0bc\x85d\ne a"
    corpus = load_corpus(write(tmp_path, train=text))
    assert spelled(corpus, "train") == "a b c d <eos> e a <eos>"


def test_the_hash_names_the_content(tmp_path: Path) -> None:
    first = load_corpus(write(tmp_path / "a"))
    again = load_corpus(write(tmp_path / "b", ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")))
    assert first.content_hash == again.content_hash and len(first.content_hash) == 16
    hashes = {first.content_hash}
    for part, text in TEXTS.items():
        changed = write(tmp_path / part, **{part: text.replace("dog", "end") + "the"})
        hashes.add(load_corpus(changed).content_hash)
    assert len(hashes) == 4


def test_known_names_are_found_in_every_layout(tmp_path: Path) -> None:
    write(tmp_path / "penn-mini")
    assert load_corpus("penn-mini", data_dir=tmp_path).name == "penn-mini"
    assert load_corpus("penn-mini", data_dir=tmp_path / "penn-mini").name == "penn-mini"
    write(tmp_path / "wikitext-2", WIKI)
    assert load_corpus("wikitext-2", data_dir=tmp_path).name == "wikitext-2"
    write(tmp_path / "ptb")
    assert load_corpus("ptb", data_dir=tmp_path).notes[0].startswith(str(tmp_path / "ptb"))
    files = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
    flat = load_corpus("ptb", data_dir=write(tmp_path / "flat", files))
    assert flat.name == "ptb"
    found = hashlib.md5(TEXTS["train"].encode()).hexdigest()
    assert flat.notes[0] == (
        f"{tmp_path / 'flat' / files[0]}: not the published file"
        f" (MD5 f26c4b92c5fdc7b3f8c7cdcb991d8420), but {found}"
    )


def test_a_published_file_is_not_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5s = {f"p.{part}": hashlib.md5(text.encode()).hexdigest() for part, text in TEXTS.items()}
    recipe = Recipe(
        name="p", title="P", kind="text", url="http://127.0.0.1:9/", md5s=md5s, folder="p",
        files=(*md5s,),
    )  # fmt: skip
    monkeypatch.setattr("sif.data.text.load.list_datasets", lambda: {"p": recipe})
    with pytest.raises(DataError, match=r"put p\.train, p\.valid, p\.test into p/ there$"):
        load_corpus("p")
    write(tmp_path / "raw" / "p")
    assert not any("published" in note for note in load_corpus("p").notes)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "t")
    (folder / "valid.txt").unlink()
    told = rf"^{folder}: expected train\.txt, valid\.txt, test\.txt in it, found no valid\.txt$"
    with pytest.raises(DataError, match=told):
        load_corpus(folder)
    (folder / "test.txt").unlink()
    with pytest.raises(DataError, match=r"found no valid\.txt and no test\.txt$"):
        load_corpus(folder)
    (folder / "train.txt").unlink()
    with pytest.raises(DataError, match=rf"^{folder}: expected train\.txt, .*found none of them$"):
        load_corpus(folder)
    half = tmp_path / "wikitext-2"
    write(half, WIKI)
    (half / WIKI[2]).unlink()
    with pytest.raises(DataError, match=r"wikitext-2: expected wiki.*found no wiki\.test\.tokens$"):
        load_corpus("wikitext-2", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("part", "content", "told"),
    [
        ("valid", b"", r"valid\.txt: expected words, found an empty file$"),
        ("test", b" \n\t\n", r"test\.txt: expected words, found white space alone$"),
        ("train", b"a b\n\xe4 c\n", r"train\.txt: byte 4: expected UTF-8, found 0xe4 \(invalid"),
        ("test", "a \u00e4".encode()[:-1], r"test\.txt: byte 2: expected UTF-8, found 0xc3 \(un"),
        ("train", b"b b\nb <unk>", r"train\.txt: expected at least 2 .*, found 1 \('b'\)$"),
        ("train", b"<unk>\n<eos>", r"train\.txt: expected .*different words, found 0$"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line(tmp_path: Path, part: str, content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as error:
        load_corpus(write(tmp_path, **{part: content}))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_blank_lines_alone_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected words, found white space alone$"):
        load_corpus(write(tmp_path, WIKI, valid="\n \n"))


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 'wikitext2'; did you mean 'wikitext-2'\?$"):
        load_corpus("wikitext2")
    with pytest.raises(
        DataError, match=r"or one of grammar, penn-mini, ptb, wikitext-2, found 'z'$"
    ):
        load_corpus("z")
    with pytest.raises(DataError, match=r"/none: expected a folder with .*, found no such folder$"):
        load_corpus(tmp_path / "none")
    file = write(tmp_path) / "train.txt"
    with pytest.raises(DataError, match=r"train\.txt: expected a folder with .*, found a file$"):
        load_corpus(file)
    with pytest.raises(
        DataError, match=r"^penn-mini: expected penn-mini/train\.txt in one of: .*e$"
    ):
        load_corpus("penn-mini")


def test_each_loader_says_what_a_name_holds() -> None:
    with pytest.raises(DataError, match=r"^ml-100k: expected text, found .* of interactions$"):
        load_corpus("ml-100k")
    with pytest.raises(DataError, match=r"^digits: expected text, found a data set of images$"):
        load_corpus("digits")
    with pytest.raises(DataError, match=r"^ptb: expected interactions, found .* of text$"):
        load_dataset("ptb")
    with pytest.raises(DataError, match=r"^grammar: expected images, found a data set of text$"):
        load_images("grammar")


def test_parts_that_do_not_fit_are_refused() -> None:
    words, good = ("<unk>", "<eos>", "a"), np.array([2, 1, UNK])
    for part, told in [
        (np.array([3]), r"valid: expected numbers in 0\.\.2, found 3\.\.3$"),
        (np.array([[1]]), r"valid: expected int64 \(n,\), found int64 \(1, 1\)$"),
        (np.array([1.0]), r"valid: expected int64 \(n,\), found float64 \(1,\)$"),
    ]:
        with pytest.raises(ShapeError, match=told):
            Corpus("x", words, good, part, good)
    with pytest.raises(ShapeError, match=r"words: expected <unk> and <eos> first"):
        Corpus("x", words[::-1], good, good, good)


def test_penn_mini(penn_mini: Path) -> None:
    corpus = load_corpus("penn-mini", data_dir=penn_mini.parent)
    assert corpus.content_hash == load_corpus(penn_mini).content_hash
    for part, file in zip(("train", "valid", "test"), PLAIN, strict=True):
        text = (penn_mini / file).read_text(encoding="utf-8")
        ids = corpus.parts[part]
        assert len(ids) == len(text.split()) + text.count("\n")
        assert int((ids == EOS).sum()) == text.count("\n")
        unknown = set(text.split()) - set(corpus.words)
        count = sum(word in unknown for word in text.split())
        assert int((ids == UNK).sum()) == count + text.split().count("<unk>")
        assert not count or any(note.startswith(f"{part}: {count:,} of") for note in corpus.notes)
    assert len(corpus.words) == len(set((penn_mini / PLAIN[0]).read_text().split())) + 1
