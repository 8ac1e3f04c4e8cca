import errno
import os
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from bdb.datasets.base import RawData
from bdb.datasets.folder import Folder
from bdb.errors import DataError, ParamsError

RED, GREEN = (255, 0, 0), (0, 255, 0)


def paint(path: Path, color: object, mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)  # type: ignore[arg-type]
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two classes of ten images each; the images of a class differ in brightness."""
    for i in range(10):
        paint(tmp_path / "mine" / "cat" / f"{i}.png", (20 * i, 0, 0))
        paint(tmp_path / "mine" / "dog" / f"{i}.jpg", (0, 20 * i, 0))
    return tmp_path / "mine"


def read(top: Path, **fields: object) -> RawData:
    return Folder.make(path=top.name, **fields).read(top.parent)


def refusal(top: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(top)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_splits_a_share_of_every_class_is_kept_for_testing(top: Path) -> None:
    raw = read(top, size=16, test_share=0.3)
    assert raw.classes == ("cat", "dog")
    assert torch.bincount(raw.train.labels).tolist() == [7, 7]
    assert torch.bincount(raw.test.labels).tolist() == [3, 3]
    assert raw.train.images.shape == (14, 3, 16, 16)
    assert raw.train.images.dtype == torch.uint8
    seen = torch.cat([raw.train.images, raw.test.images])
    assert len(torch.unique(seen.flatten(1), dim=0)) >= 18  # black cat and black dog are alike


def test_reading_again_gives_the_same(top: Path) -> None:
    one, two = read(top), read(top)
    assert torch.equal(one.train.images, two.train.images)
    assert torch.equal(one.test.labels, two.test.labels)


def test_another_class_does_not_move_the_others_test_images(top: Path) -> None:
    before = read(top)
    for i in range(4):
        paint(top / "ant" / f"{i}.png", (0, 0, 50 * i))
    after = read(top)
    assert after.classes == ("ant", "cat", "dog")
    assert torch.equal(after.test.images[after.test.labels > 0], before.test.images)


def test_splits_of_the_user_are_kept(top: Path) -> None:
    shutil.copytree(top, top.parent / "split" / "train")
    paint(top.parent / "split" / "test" / "dog" / "a.png", GREEN)
    paint(top.parent / "split" / "test" / "cat" / "a.png", RED)
    raw = read(top.parent / "split")
    assert len(raw.train) == 20
    assert raw.test.labels.tolist() == [0, 1]
    assert raw.test.images[:, :, 5, 5].tolist() == [list(RED), list(GREEN)]


def test_a_test_class_without_training_images_is_refused(top: Path) -> None:
    shutil.copytree(top, top.parent / "split" / "train")
    shutil.copytree(top, top.parent / "split" / "test")
    paint(top.parent / "split" / "test" / "emu" / "a.png", RED)
    assert "'emu'" in refusal(top.parent / "split")


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("LA", (100, 255), (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (*RED, 0), (255, 255, 255)),
        ("I;16", 100 * 256 + 17, (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(
    top: Path, mode: str, color: object, expected: tuple[int, int, int]
) -> None:
    shutil.rmtree(top / "cat")
    for i in range(2):
        paint(top / "cat" / f"{i}.png", color, mode)
    cat = read(top).train.images[0]
    assert cat[:, 3, 3].tolist() == list(expected)


def test_a_transparent_palette_shows_white(top: Path) -> None:
    shutil.rmtree(top / "cat")
    for i in range(2):
        path = top / "cat" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("P", (8, 8), 0).save(path, transparency=bytes([0]))
    assert read(top).train.images[0].min() == 255


def test_a_cmyk_jpeg_is_read(top: Path) -> None:
    paint(top / "cat" / "0.jpg", (0, 0, 0, 255), "CMYK")
    assert len(read(top).train) == 17


def test_a_turned_photograph_is_set_upright(top: Path) -> None:
    shutil.rmtree(top / "cat")
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255  # the upper half; orientation 6 says: turn it clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    (top / "cat").mkdir()
    for i in range(2):
        Image.fromarray(pixels).save(top / "cat" / f"{i}.png", exif=exif)
    upright = read(top, size=8).train.images[0, 0]
    assert upright[:, 4:].min() == 255
    assert upright[:, :4].max() == 0


def test_unicode_names_are_alike_however_they_are_composed(top: Path) -> None:
    (top / "cat").rename(top / "gru\u0308n")
    (top / "dog").rename(top / "犬")
    assert read(top).classes == ("gr\u00fcn", "犬")


def test_what_is_left_out_is_named_once(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (top / "README.txt").write_text("mine")
    (top / "cat" / "notes.txt").write_text("fluffy")
    (top / "cat" / "._0.png").write_bytes(b"junk of a file system")
    (top / ".cache").mkdir()
    assert len(read(top).train) == 16
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        f"{top}: left out, since hidden or no image of a class: "
        ".cache, README.txt, cat/._0.png, cat/notes.txt"
    )


def test_many_files_that_are_left_out_are_counted(
    top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(8):
        (top / "cat" / f"{i}.txt").touch()
    read(top)
    assert capsys.readouterr().err.endswith("cat/4.txt and 3 more\n")


@pytest.mark.parametrize("name", ["e\nmu", "e\x1bmu", b"e\xff".decode(errors="surrogateescape")])
def test_a_class_that_cannot_be_shown_gets_a_name_that_can(top: Path, name: str) -> None:
    for i in range(2):
        paint(top / name / f"{i}.png", RED)
    classes = read(top).classes
    assert len(classes) == 3
    assert all(each.isprintable() for each in classes)


def test_names_that_look_alike_are_refused(top: Path) -> None:
    for name in ("e\nmu", "e\\nmu"):
        paint(top / name / "a.png", RED)
    assert "cannot be told apart" in refusal(top)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAINING", "testing"),
        ("train", "val"),
        ("training", "Validation"),
    ],
)
def test_splits_under_other_names(top: Path, train: str, test: str) -> None:
    split = top.parent / "split"
    shutil.copytree(top, split / train)
    for name, color in (("cat", RED), ("dog", GREEN)):
        paint(split / test / name / "a.png", color)
    raw = read(split)
    assert len(raw.train) == 20
    assert raw.test.images[:, :, 5, 5].tolist() == [list(RED), list(GREEN)]


def test_a_training_folder_alone_is_split(top: Path) -> None:
    shutil.copytree(top, top.parent / "split" / "train")
    raw = read(top.parent / "split")
    assert (len(raw.train), len(raw.test)) == (16, 4)


def test_validation_images_beside_a_test_set_are_left_out_and_named(
    top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = top.parent / "split"
    for name in ("train", "test", "val"):
        shutil.copytree(top, split / name)
    (split / "labels.csv").touch()
    raw = read(split)
    assert (len(raw.train), len(raw.test)) == (20, 20)
    assert capsys.readouterr().err.endswith("labels.csv, val\n")


def test_a_class_may_be_called_like_a_split(top: Path) -> None:
    (top / "cat").rename(top / "train")
    (top / "dog").rename(top / "test")
    raw = read(top)
    assert raw.classes == ("test", "train")
    assert len(raw.train) == 16


def class_beside_train(split: Path, top: Path) -> str:
    shutil.copytree(top / "cat", split / "emu")
    return "emu/, train/"


def two_of_a_role(split: Path, top: Path) -> str:
    shutil.copytree(top, split / "training")
    return "train/, training/"


def no_class_in_test(split: Path, top: Path) -> str:
    shutil.copytree(top / "cat", split / "test")
    return "test/, train/"


def only_a_test(split: Path, _top: Path) -> str:
    (split / "train").rename(split / "test")
    return "test/"


def unknown_beside_train(split: Path, top: Path) -> str:
    shutil.copytree(top, split / "extra")
    return "extra/, train/"


@pytest.mark.parametrize(
    "spoil",
    [class_beside_train, two_of_a_role, no_class_in_test, only_a_test, unknown_beside_train],
)
def test_splits_that_are_not_clear_say_what_was_found_and_what_is_expected(
    top: Path, spoil: Callable[[Path, Path], str]
) -> None:
    split = top.parent / "split"
    shutil.copytree(top, split / "train")
    found = spoil(split, top)
    said = refusal(split)
    assert f"holds {found}, which is not clear" in said
    assert "train/ and test/" in said


def deepen(top: Path, values: list[int]) -> None:
    """Cats of 16 bits per pixel, whose left half is black."""
    for i, value in enumerate(values):
        pixels = np.uint16([[0, value] * 8] * 16)
        Image.fromarray(pixels).save(top / "cat" / f"{i}.png")


@pytest.mark.parametrize(("value", "bits"), [(255, 8), (4095, 12), (1023, 10), (3, 8)])
def test_eight_or_twelve_bits_in_sixteen_do_not_turn_black(
    top: Path, value: int, bits: int
) -> None:
    deepen(top, [value] * 10)
    said = refusal(top)
    assert "0.png' and 9 more have 16 bits" in said
    assert f"`grey_bits: {bits}`" in said
    cat = read(top, size=16, grey_bits=bits).train.images[0]
    assert cat[0, 0].tolist() == [0, value >> (bits - 8)] * 8


def test_dark_images_among_bright_ones_are_read(top: Path) -> None:
    deepen(top, [255] * 9 + [65535])
    assert len(read(top).train) == 16


def test_more_than_the_bits_that_count_is_refused(top: Path) -> None:
    deepen(top, [255] * 9 + [256])
    with pytest.raises(DataError, match=r"9\.png.*it holds 256, more than `grey_bits: 8` can"):
        read(top, grey_bits=8)


def deep_colours(path: Path, value: int) -> None:
    """A PNG with 16 bits per colour, which Pillow cannot write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    rows = (b"\0" + struct.pack(">H", value) * 24) * 8
    body = header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_colours_of_sixteen_bits(top: Path) -> None:
    for i in range(10):
        deep_colours(top / "cat" / f"{i}.png", 255)
    assert "convert them to 8 bits" in refusal(top)
    for i in range(10):
        deep_colours(top / "cat" / f"{i}.png", 200 << 8)
    assert int(read(top).train.images[0].max()) == 200


def test_more_than_one_frame_is_refused(top: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    frames[0].save(top / "cat" / "0.png", save_all=True, append_images=frames[1:])
    assert "0.png" in refusal(top)
    assert "more than one frame" in refusal(top)


def test_a_link_within_the_folder_is_followed(top: Path) -> None:
    (top / "cat" / "link.png").symlink_to(top / "cat" / "0.png")
    raw = read(top)
    assert len(raw.train) + len(raw.test) == 21


def test_images_that_dvc_made_links_of_are_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top.parent)
    objects = top.parent / ".dvc/cache/files/md5/ab"
    objects.mkdir(parents=True)
    before = read(top)
    for number, path in enumerate(sorted(top.rglob("*.png"))):
        path.rename(objects / str(number))
        path.symlink_to(objects / str(number))
    after = read(top)
    assert torch.equal(after.train.images, before.train.images)
    assert torch.equal(after.test.images, before.test.images)


@pytest.mark.parametrize("place", ["", "elsewhere"], ids=["cleaned", "moved"])
def test_what_dvcs_cache_has_lost_is_to_be_checked_out_again(
    top: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(top.parent)
    (top.parent / ".dvc").mkdir()
    (top / "cat/0.png").unlink()
    (top / "cat/0.png").symlink_to(top.parent / place / ".dvc/cache/files/md5/ab/cd")
    message = refusal(top)
    assert "0.png" in message
    assert message.endswith("`dvc checkout` restores it, or `dvc pull`")


def one_class(top: Path) -> str:
    shutil.rmtree(top / "dog")
    return "two or more class folders"


def empty_class(top: Path) -> str:
    (top / "emu").mkdir()
    return "emu"


def single_image(top: Path) -> str:
    paint(top / "emu" / "a.png", RED)
    return "'emu'"


def damaged(top: Path) -> str:
    whole = (top / "dog" / "3.jpg").read_bytes()
    (top / "dog" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    return os.path.join("dog", "3.jpg")


def not_an_image(top: Path) -> str:
    (top / "cat" / "fake.png").write_text("<html>")
    return "fake.png"


def other_format_inside(top: Path) -> str:
    Image.new("RGB", (8, 8)).save(top / "cat" / "trick.png", format="GIF")
    return "trick.png"


def other_format(top: Path) -> str:
    Image.new("RGB", (8, 8)).save(top / "cat" / "b.GIF")
    return "b.GIF"


def link_out(top: Path) -> str:
    secret = paint(top.parent / "secret.png", RED)
    (top / "cat" / "link.png").symlink_to(secret)
    return "link.png"


def class_link_out(top: Path) -> str:
    paint(top.parent / "elsewhere" / "a.png", RED)
    (top / "emu").symlink_to(top.parent / "elsewhere", target_is_directory=True)
    return "emu"


def dangling_link(top: Path) -> str:
    (top / "cat" / "gone.png").symlink_to(top / "cat" / "nothing.png")
    return "gone.png"


def looping_link(top: Path) -> str:
    (top / "cat" / "loop.png").symlink_to(top / "cat" / "loop.png")
    return "loop.png"


def looping_class(top: Path) -> str:
    (top / "emu").symlink_to("emu", target_is_directory=True)
    return "emu"


def dangling_class(top: Path) -> str:
    (top / "emu").symlink_to("nowhere", target_is_directory=True)
    return "emu"


def dangling_under_any_name(top: Path) -> str:
    (top / "cat" / "notes").symlink_to("nowhere")
    return "notes"


def class_of_all_classes(top: Path) -> str:
    (top / "emu").symlink_to(".", target_is_directory=True)
    return os.path.join("emu", "cat")


def class_beside_link_prefix(top: Path) -> str:
    """`mine-too` begins like `mine`, but does not lie in it."""
    paint(top.parent / "mine-too" / "a.png", RED)
    (top / "emu").symlink_to("../mine-too", target_is_directory=True)
    return "emu"


def pipe(top: Path) -> str:
    os.mkfifo(top / "cat" / "pipe.png")
    return "pipe.png"


def nested(top: Path) -> str:
    paint(top / "cat" / "kittens" / "a.png", RED)
    return "kittens"


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(path: Path, *chunks: bytes, side: int = 8) -> str:
    """Write a black PNG with more chunks in it, or one that only claims to be so large."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(72)))
    image = b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")
    path.write_bytes(image)
    return path.name


def bomb(top: Path) -> str:
    """A few bytes that say 12,000 x 12,000 pixels, which Pillow alone would only warn of."""
    return png(top / "cat" / "bomb.png", side=12_000)


def huge_bomb(top: Path) -> str:
    return png(top / "cat" / "huge.png", side=50_000)


def profile_bomb(top: Path) -> str:
    """A colour profile of 64 MB in 64 kB."""
    profile = b"icc\0\0" + zlib.compress(bytes(1 << 26), 9)
    return png(top / "cat" / "profile.png", chunk(b"iCCP", profile))


def text_bomb(top: Path) -> str:
    text = b"comment\0\0" + zlib.compress(bytes(1 << 26), 9)
    return png(top / "cat" / "text.png", chunk(b"zTXt", text))


def many_texts(top: Path) -> str:
    text = b"comment\0\0" + zlib.compress(bytes((1 << 20) - 1), 9)
    return png(top / "cat" / "texts.png", *[chunk(b"zTXt", text)] * 80)


def claimed_chunk(top: Path) -> str:
    """A text of two gigabytes, or so the chunk says."""
    return png(top / "cat" / "claim.png", struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(64))


def sparse_giant(top: Path) -> str:
    """A file of a terabyte that takes no place on the disk, and begins as an image."""
    png(top / "cat" / "giant.png", struct.pack(">I", 2**31 - 1) + b"tEXt")
    os.truncate(top / "cat" / "giant.png", 1 << 40)
    return "giant.png"


def empty(top: Path) -> str:
    (top / "cat" / "empty.png").touch()
    return "empty.png"


def truncated_png(top: Path) -> str:
    path = top / "cat" / "5.png"
    path.write_bytes(path.read_bytes()[:-40])
    return os.path.join("cat", "5.png")


def line_break_in_name(top: Path) -> str:
    (top / "cat" / "a\nb.png").write_bytes(b"")
    return "a\\nb.png"


def missing(top: Path) -> str:
    shutil.rmtree(top)
    return top.name


@pytest.mark.parametrize(
    "spoil",
    [
        one_class,
        empty_class,
        single_image,
        damaged,
        not_an_image,
        other_format_inside,
        other_format,
        link_out,
        class_link_out,
        dangling_link,
        looping_link,
        looping_class,
        dangling_class,
        dangling_under_any_name,
        class_of_all_classes,
        class_beside_link_prefix,
        pipe,
        nested,
        bomb,
        huge_bomb,
        profile_bomb,
        text_bomb,
        many_texts,
        claimed_chunk,
        sparse_giant,
        empty,
        truncated_png,
        line_break_in_name,
        missing,
    ],
)
def test_what_will_not_do_is_refused_by_name(top: Path, spoil: Callable[[Path], str]) -> None:
    assert spoil(top) in refusal(top)


@pytest.mark.parametrize("spoil", [bomb, huge_bomb])
def test_a_bomb_is_refused_before_a_pixel_is_decoded(
    top: Path, spoil: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, load = spoil(top), ImageFile.ImageFile.load

    def watch(image: ImageFile.ImageFile) -> object:
        assert not str(image.filename).endswith(name)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watch)
    assert "exceeds limit" in refusal(top)


@pytest.mark.parametrize(
    "spoil", [profile_bomb, text_bomb, many_texts, claimed_chunk, sparse_giant]
)
def test_chunks_do_not_fill_the_memory(top: Path, spoil: Callable[[Path], str]) -> None:
    shutil.rmtree(top / "dog")
    for i in range(10):
        paint(top / "dog" / f"{i}.png", GREEN)
    name = spoil(top)
    tracemalloc.start()
    try:
        said = refusal(top)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert name in said
    assert peak < 1 << 25


def test_odd_images_that_can_be_read_are_read_in_silence(
    top: Path, recwarn: pytest.WarningsRecorder
) -> None:
    png(top / "cat" / "exif.png", chunk(b"eXIf", b"MM\0*rubbish"))
    png(top / "cat" / "a\nb.png")
    assert len(read(top).train) == 18
    assert not recwarn.list


def test_what_may_not_be_looked_into_is_named(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who is not root, whom the modes do not stop."""
    iterdir, is_file = Path.iterdir, Path.is_file

    def list_all_but_cats(path: Path) -> Iterator[Path]:
        if path.name == "cat":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    def ask_all_but_dogs(path: Path) -> bool:
        if path.parent.name == "dog":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", list_all_but_cats)
        assert f"{str(top / 'cat')!r} is not a folder that can be read (Perm" in refusal(top)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", ask_all_but_dogs)
        assert f"{str(top / 'dog' / '0.jpg')!r} cannot be read (Permission denied)" in refusal(top)


def test_an_unknown_home_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="'~nobody-of-this-name/x' begins with an unknown user"):
        Folder.make(path="~nobody-of-this-name/x").read(tmp_path)
