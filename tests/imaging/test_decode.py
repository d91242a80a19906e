from __future__ import annotations

import pickle
import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from facenet_core.errors import FacenetError
from facenet_core.imaging.decode import (
    MIN_SIDE,
    UndecodableImage,
    decode,
    decode_photograph,
    encode,
    full_size,
)
from facenet_core.imaging.header import picture_size
from tests.support.heic import HEIC


def scene(height: int = 40, width: int = 56) -> np.ndarray:
    """Smooth colours, which JPEG keeps, and no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([3 * x, 2 * y + x, 200 - 2 * y]).astype(np.uint8)


def saved(image: Image.Image, format: str, **options) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


PICTURE = Image.fromarray(scene())


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_images_come_back_as_they_were(format):
    decoded = decode(saved(PICTURE, format))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, scene())


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": "4:2:0"}),
        ("WEBP", {"quality": 95}),
        ("JPEG2000", {}),
    ],
)
def test_lossy_images_come_back_nearly_as_they_were(format, options):
    decoded = decode(saved(PICTURE, format, **options))
    assert decoded.shape == (40, 56, 3)
    assert np.abs(decoded.astype(int) - scene()).mean() < 3


def test_jpeg_pixels_are_pillows():
    data = saved(PICTURE, "JPEG", quality=80)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(BytesIO(data))))


def test_grey_becomes_three_equal_channels():
    grey = scene()[:, :, 0]
    np.testing.assert_array_equal(
        decode(saved(Image.fromarray(grey), "PNG")), np.repeat(grey[:, :, None], 3, axis=2)
    )


def test_black_and_white_becomes_0_and_255():
    decoded = decode(saved(PICTURE.convert("1"), "PNG"))
    assert decoded.shape == (40, 56, 3)
    assert set(np.unique(decoded)) == {0, 255}


def test_the_upper_8_of_16_bits_are_kept():
    deep = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56) * 29
    decoded = decode(saved(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(decoded[:, :, 1], deep >> 8)


def test_a_palette_is_looked_up():
    picture = PICTURE.quantize(16)
    np.testing.assert_array_equal(decode(saved(picture, "GIF")), np.asarray(picture.convert("RGB")))


def test_cmyk_is_converted():
    decoded = decode(saved(PICTURE.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - scene()).mean() < 3


def test_transparent_pixels_are_laid_on_white():
    rgba = np.dstack([scene(), np.full((40, 56), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    decoded = decode(saved(Image.fromarray(rgba), "PNG"))
    assert (decoded[:20] == 255).all()
    np.testing.assert_array_equal(decoded[20:], scene()[20:])


def test_a_transparent_colour_of_a_palette_is_laid_on_white():
    indices = np.zeros((40, 56), np.uint8)
    indices[:, 28:] = 1
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    decoded = decode(saved(picture, "PNG", transparency=0))
    assert (decoded[:, :28] == 255).all()
    assert (decoded[:, 28:] == [40, 50, 60]).all()


def test_of_an_animation_the_first_frame_is_taken():
    second = Image.fromarray(255 - scene())
    data = saved(PICTURE, "PNG", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode(data), scene())


ORIENTATIONS = {  # EXIF's number: what a camera so held stores of an upright scene
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_exif_orientation_is_applied_or_ignored(number):
    stored = np.ascontiguousarray(ORIENTATIONS[number](scene()))
    exif = Image.Exif()
    exif[0x0112] = number
    data = saved(Image.fromarray(stored), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data), scene())
    np.testing.assert_array_equal(decode(data, exif="ignore"), stored)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("number", ORIENTATIONS)
def test_a_tiff_is_turned_once_or_not_at_all(number, compression):
    stored = np.ascontiguousarray(ORIENTATIONS[number](scene()))
    tags = {0x0112: number}
    data = saved(Image.fromarray(stored), "TIFF", tiffinfo=tags, compression=compression)
    for exif, expected in (("apply", scene()), ("ignore", stored)):
        photo = decode_photograph(data, exif=exif)
        np.testing.assert_array_equal(photo.pixels, expected)
        assert (photo.width, photo.height) == expected.shape[1::-1]
        assert full_size(data, exif) == expected.shape[1::-1]
        assert picture_size(data) is not None


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_a_heic_is_upright_as_its_container_says(exif):
    pytest.importorskip("pi_heif")
    photo = decode_photograph(HEIC, exif=exif)
    assert np.abs(photo.pixels.astype(int) - scene()).mean() < 5
    assert full_size(HEIC, exif) == (photo.width, photo.height) == (56, 40)
    assert picture_size(HEIC) == (64, 64)  # in whole blocks, as it is decoded


GREY = scene()[:, :, 0]


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.float32) / 255,
        GREY.astype(np.float32),
        GREY.astype(np.float32) * 257,
        GREY.astype(np.int32),
        GREY.astype(np.int32) * 257,
        (GREY.astype(np.uint32) * 0x01010101 + 2**31).view(np.int32),
    ],
)
def test_tiffs_of_floats_and_of_32_bits_are_not_black(values):
    expected = GREY if values.min() >= 0 else GREY + 128
    decoded = decode(saved(Image.fromarray(values), "TIFF"))
    assert np.abs(decoded[:, :, 2].astype(int) - expected).max() <= 1


def test_floats_beyond_16_bits_are_scaled_by_their_maximum():
    decoded = decode(saved(Image.fromarray(GREY.astype(np.float32) * 1e6), "TIFF"))
    assert decoded.max() == 255
    assert decoded.min() == 0


def test_floats_that_are_not_finite_are_undecodable():
    values = np.full((40, 56), np.inf, np.float32)
    with pytest.raises(UndecodableImage, match="floats that are not finite"):
        decode(saved(Image.fromarray(values), "TIFF"))


def test_a_large_picture_of_floats_is_scaled_as_a_whole():
    values = np.linspace(0, 1, 400 * 300, dtype=np.float32).reshape(300, 400)
    pixels = decode_photograph(saved(Image.fromarray(values), "TIFF"), scale_above=40_000).pixels
    assert pixels.shape == (150, 200, 3)
    assert (np.diff(pixels[:, 0, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_exif_orientation_that_does_not_exist_changes_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(saved(PICTURE, "PNG", exif=exif)), scene())


def test_broken_exif_does_not_lose_the_image():
    data = saved(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode(data).shape == (40, 56, 3)


def test_an_image_over_the_limit_is_too_large():
    data = saved(PICTURE, "PNG")
    assert decode(data, max_pixels=40 * 56).shape == (40, 56, 3)
    with pytest.raises(UndecodableImage, match="56x40 pixels, at most 2239") as caught:
        decode(data, max_pixels=40 * 56 - 1)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("side", [60_000, 4_000_000])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    header = b"P6\n%d %d\n255\n" % (side, side)  # gigabytes of pixels are announced, none follow
    with pytest.raises(UndecodableImage) as caught:
        decode(header)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("size", [(MIN_SIDE - 1, 56), (40, MIN_SIDE - 1), (1, 1)])
def test_an_image_smaller_than_the_detectors_window_is_too_small(size):
    with pytest.raises(UndecodableImage, match="at least 12 a side") as caught:
        decode(saved(Image.fromarray(scene(*size)), "PNG"))
    assert caught.value.reason == "too_small"


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\xff\xd8\xff", b"GIF89a", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_not_an_image_is_undecodable(data):
    with pytest.raises(UndecodableImage) as caught:
        decode(data)
    assert caught.value.reason == "undecodable"
    assert isinstance(caught.value, FacenetError)


def test_the_detail_is_the_same_for_the_same_bytes():
    details = set()
    for _ in range(3):
        with pytest.raises(UndecodableImage) as caught:
            decode(bytes(50))
        details.add(caught.value.detail)
    assert details == {"not an image in a known format"}


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_undecodable_unless_tolerated(progressive):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), "JPEG", quality=90, progressive=progressive)
    cut = whole[: len(whole) * 3 // 5]
    with pytest.raises(UndecodableImage, match="truncated"):
        decode(cut)
    decoded = decode(cut, tolerate_truncated=True)
    assert decoded.shape == (128, 128, 3)
    if not progressive:
        np.testing.assert_array_equal(decoded[:48], decode(whole)[:48])
        assert np.ptp(decoded[-8:]) == 0  # one grey, no picture


def test_tolerance_changes_nothing_about_a_whole_jpeg():
    data = saved(PICTURE, "JPEG")
    np.testing.assert_array_equal(decode(data), decode(data, tolerate_truncated=True))


SEEDS = [
    saved(PICTURE, "JPEG"),
    saved(PICTURE, "JPEG", progressive=True),
    saved(PICTURE, "PNG"),
    saved(PICTURE.quantize(16), "GIF"),
    saved(PICTURE, "TIFF", compression="tiff_lzw"),
    saved(PICTURE, "WEBP"),
    saved(PICTURE, "BMP"),
    saved(PICTURE, "JPEG2000"),
]


def attempt(data: bytes, **options) -> np.ndarray | UndecodableImage:
    try:
        return decode(data, **options)
    except UndecodableImage as problem:
        return problem


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6),
    keep=st.floats(0.02, 1),
    tolerate=st.booleans(),
)
def test_damaged_files_give_an_image_or_an_undecodable_image(seed, changes, keep, tolerate):
    data = bytearray(seed)
    for path, patch in changes:
        at = int(path * len(data))
        data[at : at + len(patch)] = patch
    data = bytes(data[: max(1, int(keep * len(data)))])
    outcome = attempt(data, max_pixels=1_000_000, tolerate_truncated=tolerate)
    if isinstance(outcome, UndecodableImage):
        assert outcome.reason in {
            "undecodable",
            "unsupported_format",
            "too_large",
            "too_small",
        }
        assert outcome.detail
    else:
        assert outcome.dtype == np.uint8
        assert outcome.shape[2:] == (3,)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_never_were_an_image_are_undecodable(data):
    assert isinstance(attempt(data), UndecodableImage)


def test_an_undecodable_image_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UndecodableImage("too_small", "3x3 pixels")))
    assert (error.reason, error.detail) == ("too_small", "3x3 pixels")


def test_png_encoding_loses_nothing():
    np.testing.assert_array_equal(decode(encode(scene(), "png")), scene())


def test_jpeg_encoding_keeps_full_colour_resolution():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = [255, 0, 0]
    stripes[:, 1::2] = [0, 0, 255]
    decoded = decode(encode(stripes, "jpeg", quality=95))
    assert np.abs(decoded.astype(int) - stripes).mean() < 5


def test_encoding_is_the_same_every_time():
    assert encode(scene()) == encode(scene())


def without_adobe_marker(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    length = int.from_bytes(jpeg[start + 2 : start + 4], "big")
    return jpeg[:start] + jpeg[start + 2 + length :]


def test_cmyk_is_inverted_only_where_adobe_says_so():
    adobe = saved(PICTURE.convert("CMYK"), "JPEG", quality=95)
    inverse = saved(ImageChops.invert(PICTURE.convert("CMYK")), "JPEG", quality=95)
    plain = decode(without_adobe_marker(inverse))
    assert np.abs(plain.astype(int) - decode(adobe)).mean() < 3


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_opaque_alpha_changes_nothing(mode):
    picture = PICTURE.convert("L") if mode == "LA" else PICTURE
    if mode == "PA":
        picture = PICTURE.quantize(200)
    decoded = decode(saved(picture.convert(mode), "TIFF" if mode == "PA" else "PNG"))
    np.testing.assert_array_equal(decoded, np.asarray(picture.convert("RGB")))


def test_of_16_bit_colour_the_upper_8_are_kept():
    deep = scene().astype(np.uint16) * 256 + 77
    encoded = cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes()
    assert encoded[24] == 16  # bits a sample
    np.testing.assert_array_equal(decode(encoded), scene())


def large(height: int = 400, width: int = 600) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.dstack([x % 251, y % 241, (x + y) // 4 % 256]).astype(np.uint8))


@pytest.mark.parametrize(
    ("scale_above", "size"),
    [(240_000, (600, 400)), (239_999, (300, 200)), (50_000, (150, 100)), (2_000, (38, 25))],
)
def test_a_large_jpeg_is_decoded_by_halves(scale_above, size):
    photo = decode_photograph(saved(large(), "JPEG"), scale_above=scale_above)
    assert photo.pixels.shape[1::-1] == size
    assert (photo.width, photo.height) == (600, 400)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_other_large_images_are_averaged_down(format, mode):
    picture = large(402, 601).convert(mode)
    photo = decode_photograph(saved(picture, format), scale_above=30_000)
    assert photo.pixels.shape == (134, 201, 3)
    averaged = picture.convert("RGB").reduce(3)
    np.testing.assert_array_equal(photo.pixels, np.asarray(averaged))
    np.testing.assert_allclose(photo.scale, [601 / 201, 3])


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_a_scaled_photograph_is_turned_and_tells_its_full_size(number):
    exif = Image.Exif()
    exif[0x0112] = number
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[number](np.asarray(large()))))
    data = saved(stored, "PNG", exif=exif)
    photo = decode_photograph(data, scale_above=60_000)
    assert (photo.width, photo.height) == (600, 400) == full_size(data, "apply")
    assert full_size(data, "ignore") == stored.size
    np.testing.assert_array_equal(photo.pixels, np.asarray(large().reduce(2)))


def test_a_scaled_decode_of_a_jpeg_takes_the_memory_of_what_is_left_of_it():
    script = (
        "import resource, sys\n"
        "from facenet_core.imaging.decode import decode_photograph\n"
        "data = sys.stdin.buffer.read()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "print(decode_photograph(data, scale_above=1_250_000).pixels.shape, peak() - before)"
    )
    data = saved(Image.new("RGB", (10_000, 8_000), "teal"), "JPEG")  # 80 million pixels
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True)
    shape, _, grown = done.stdout.decode().rpartition(" ")
    assert shape == "(1000, 1250, 3)"
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < 80_000_000


def test_reading_says_nothing_on_stderr_of_what_pillow_warns_of(recwarn):
    decode(saved(PICTURE, "TIFF") + b"..", max_pixels=10_000)
    decode_photograph(saved(Image.new("1", (9_500, 9_500)), "PNG"), scale_above=1_000_000)
    assert [str(warning.message) for warning in recwarn] == []
