"""Makes the golden pictures of this folder and what Pillow reads in them.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 && venv/bin/python make.py

`NAME.EXT` is a picture as people have them. `expected/NAME.png` is `exif_transpose(open(NAME.EXT)).convert("RGB")`.
`expected/resize-*.png` are Pillow's resizes of `large.png`, by torchvision's arithmetic of sizes and boxes; their names say
what was asked, and `resizes` below is the list that the test reads from those names.
"""

import math
import pathlib

from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
OUT = HERE / "expected"


def scene(width, height):
    """Smooth colours with two sharp edges: what photographs are made of."""
    im = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            r = 127 + 100 * math.sin(0.23 * x + 0.11 * y)
            g = 127 + 100 * math.sin(0.17 * y - 0.07 * x + 1)
            b = 127 + 100 * math.cos(0.13 * (x + y))
            if (x - width * 0.4) ** 2 + (y - height * 0.5) ** 2 < (height * 0.3) ** 2:
                r, g, b = 230 - r / 3, 40 + g / 4, 200 - b / 2
            if x > width * 0.8:
                r, g, b = r / 3, g / 3, b / 3
            im.putpixel((x, y), (int(r), int(g), int(b)))
    return im


def expect(path):
    im = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    im.save(OUT / (path.name.replace(".", "-") + ".png"), optimize=True)


def pictures():
    im = scene(37, 26)
    grey = im.convert("L")
    im.save(HERE / "rgb444.jpg", quality=90, subsampling="4:4:4")
    im.save(HERE / "rgb422.jpg", quality=90, subsampling="4:2:2")
    im.save(HERE / "rgb420.jpg", quality=90, subsampling="4:2:0")
    im.save(HERE / "progressive.jpg", quality=85, subsampling="4:2:0", progressive=True)
    im.save(HERE / "restart.jpg", quality=85, subsampling="4:2:0", restart_marker_blocks=2)
    im.save(HERE / "kept-rgb.jpg", quality=90, keep_rgb=True)
    grey.save(HERE / "grey.jpg", quality=90)
    # ink of all four kinds, which `convert` alone never makes
    inks = Image.merge("CMYK", (*im.split(), grey.point(lambda v: v // 2)))
    inks.save(HERE / "cmyk.jpg", quality=90)
    # the same numbers, said to be YCCK by the Adobe marker's last byte: no other colours, other arithmetic
    data = bytearray((HERE / "cmyk.jpg").read_bytes())
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    data[at] = 2
    (HERE / "ycck.jpg").write_bytes(data)

    im.save(HERE / "rgb.png", optimize=True)
    grey.save(HERE / "grey.png", optimize=True)
    alpha = im.convert("RGBA")
    alpha.putalpha(grey)
    alpha.save(HERE / "rgba.png", optimize=True)
    alpha.convert("LA").save(HERE / "grey-alpha.png", optimize=True)
    palette = im.quantize(16)
    palette.save(HERE / "palette.png", optimize=True)
    palette.save(HERE / "palette-transparent.png", optimize=True, transparency=bytes([0, 128] + [255] * 14))
    im.quantize(256).save(HERE / "palette256.png", optimize=True)
    grey.point(lambda v: 255 * (v > 120), mode="1").save(HERE / "one-bit.png", optimize=True)
    # Pillow clips grey of 16 bits at 255, which is no picture: `grey16.png` is expected as its high bytes instead
    deep = Image.new("I;16", im.size)
    for y in range(im.height):
        for x in range(im.width):
            deep.putpixel((x, y), min(65535, grey.getpixel((x, y)) * 256 + (x * 7 + y * 13) % 256))
    deep.save(HERE / "grey16.png", optimize=True)

    frames = [im.quantize(32), ImageOps.mirror(im).quantize(32)]
    frames[0].save(HERE / "still.gif")
    frames[0].save(HERE / "animated.gif", save_all=True, append_images=frames[1:], duration=100, loop=0)
    palette.save(HERE / "transparent.gif", transparency=3)
    im.save(HERE / "lossy.webp", quality=90, method=6)
    im.save(HERE / "lossless.webp", lossless=True)
    alpha.save(HERE / "alpha.webp", lossless=True, exact=True)
    im.save(HERE / "animated.webp", save_all=True, append_images=[ImageOps.mirror(im)], duration=100, lossless=True)
    im.save(HERE / "rgb.bmp")
    palette.save(HERE / "palette.bmp")

    Image.new("RGB", (1, 1), (200, 100, 50)).save(HERE / "one.png")
    Image.new("RGB", (1, 1), (200, 100, 50)).save(HERE / "one.jpg", quality=95)
    small = scene(21, 14)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        small.save(HERE / f"exif{orientation}.jpg", quality=90, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(HERE / "exif6.png", exif=exif, optimize=True)
    small.save(HERE / "exif6.webp", exif=exif, lossless=True)

    for path in sorted(HERE.iterdir()):
        if path.suffix in (".jpg", ".png", ".gif", ".webp", ".bmp") and path.stem not in ("grey16", "large"):
            expect(path)
    high = Image.new("RGB", im.size)
    for y in range(im.height):
        for x in range(im.width):
            high.putpixel((x, y), (deep.getpixel((x, y)) >> 8,) * 3)
    high.save(OUT / "grey16-png.png", optimize=True)


FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(im, size, how):
    """torchvision.transforms.Resize(size) of a picture."""
    w, h = im.size
    short, long = (w, h) if w <= h else (h, w)
    new_long = int(size * long / short)
    size = (size, new_long) if w <= h else (new_long, size)
    return im if size == im.size else im.resize(size, FILTERS[how])


def centre(im, size):
    """torchvision.transforms.CenterCrop(size) of a picture."""
    w, h = im.size
    if size > w or size > h:
        left, top = max(0, (size - w) // 2), max(0, (size - h) // 2)
        right, bottom = max(0, (size - w + 1) // 2), max(0, (size - h + 1) // 2)
        im = ImageOps.expand(im, (left, top, right, bottom), 0)
        w, h = im.size
    top, left = int(round((h - size) / 2.0)), int(round((w - size) / 2.0))
    return im.crop((left, top, left + size, top + size))


def resizes():
    im = scene(97, 71)
    im.save(HERE / "large.png", optimize=True)
    for how in FILTERS:
        for short, size in [(40, 32), (24, 24), (71, 25), (90, 40), (12, 20)]:
            done = centre(resize(im, short, how), size)
            done.save(OUT / f"resize-{how}-{short}-{size}.png", optimize=True)
        for x, y, w, h, size in [(10, 5, 60, 50, 32), (0, 0, 97, 71, 24), (80, 60, 9, 7, 32), (50, 20, 32, 32, 32)]:
            done = im.crop((x, y, x + w, y + h)).resize((size, size), FILTERS[how])
            done.save(OUT / f"crop-{how}-{x}-{y}-{w}-{h}-{size}.png", optimize=True)


def flat():
    """Large pictures in small files, of the kinds whose decoding takes the most memory."""
    folder = HERE / "flat"
    folder.mkdir(exist_ok=True)
    size = (640, 480)
    rgb, inks = Image.new("RGB", size, (90, 60, 30)), Image.new("CMYK", size, (90, 60, 30, 20))
    inks.save(folder / "progressive-cmyk.jpg", quality=30, progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    inks.save(folder / "turned-cmyk.jpg", quality=30, progressive=True, exif=exif)
    clear = rgb.convert("RGBA")
    clear.putalpha(100)
    clear.save(folder / "lossy-alpha.webp", quality=30)
    clear.save(folder / "lossless-alpha.webp", lossless=True)
    other = Image.new("RGBA", size, (20, 60, 90, 50))
    clear.save(folder / "animated.webp", save_all=True, append_images=[other], duration=100)
    rgb.quantize(2).save(folder / "animated.gif", save_all=True, append_images=[other.convert("RGB").quantize(2)], duration=100)
    clear.save(folder / "rgba.png", optimize=True)


OUT.mkdir(exist_ok=True)
pictures()
resizes()
flat()
