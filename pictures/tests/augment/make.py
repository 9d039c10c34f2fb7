"""Makes `expected.txt`: what torchvision's changes make of small pictures, as checksums, in the order the test asks for them.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 && venv/bin/python make.py

A line is what was done, on which picture, and of each result the last 16 bits of its CRC-32 in hexadecimal. RandAugment's lines have the
magnitudes 0 to 30, those of `adjust` the factors below. A line `colours` has the CRC-32 of all 2^24 colours, their hues turned.
"""

import os
import pathlib
import zlib

# one value at a time: what torch's vectors make of a range differs in the last bit from machine to machine
os.environ["ATEN_CPU_CAPABILITY"] = "default"

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

FACTORS = [0.0, 0.123, 0.5, 0.9, 1.0, 1.1, 1.777, 3.0]
TURNS = [-0.5, -0.31, -0.1, -0.002, 0.0, 0.004, 0.05, 0.25, 0.499, 0.5]


def pictures():
    def noise(n):
        state, out = 1, []
        for _ in range(n):
            state = (state * 1103515245 + 12345) % 2**31
            out.append(state >> 16 & 255)
        return out

    # values 40 to 200: there is contrast to gain
    smooth = [40 + (3 * x + 2 * y + 37 * c + x * y // 8) % 161 for y in range(40) for x in range(40) for c in range(3)]
    grey = [v for v in noise(13 * 13) for _ in range(3)]
    return [
        ("noise", 33, noise(33 * 33 * 3)),
        ("smooth", 40, smooth),
        ("grey", 13, grey),
        ("plain", 6, [7, 130, 250] * 36),
        ("tiny", 2, noise(12)),
        ("one", 1, [200, 100, 50]),
    ]


def crc(image):
    return f"{zlib.crc32(np.asarray(image).tobytes()) & 0xFFFF:04x}"


def main():
    lines = []
    for name, side, values in pictures():
        image = Image.fromarray(np.array(values, dtype=np.uint8).reshape(side, side, 3))
        space = RandAugment()._augmentation_space(31, (side, side))
        for op, (magnitudes, signed) in space.items():
            for sign in ["+", "-"] if signed else ["+"]:
                results = []
                for m in range(31):
                    value = float(magnitudes[m].item()) if magnitudes.ndim > 0 else 0.0
                    if sign == "-":
                        value *= -1.0
                    results.append(crc(_apply_op(image, op, value, InterpolationMode.NEAREST, None)))
                    if magnitudes.ndim == 0:
                        break
                lines.append(f"{op}{sign} {name} {' '.join(results)}")
        adjust = [
            ("brightness", F.adjust_brightness, FACTORS),
            ("contrast", F.adjust_contrast, FACTORS),
            ("saturation", F.adjust_saturation, FACTORS),
            ("hue", F.adjust_hue, TURNS),
        ]
        for op, function, values in adjust:
            lines.append(f"adjust-{op} {name} {' '.join(crc(function(image, v)) for v in values)}")
    n = np.arange(2**24, dtype=np.uint32)
    colours = np.stack([n >> 16, n >> 8 & 255, n & 255], axis=1).astype(np.uint8).reshape(4096, 4096, 3)
    for turn in [0.0, -0.31]:
        found = zlib.crc32(np.asarray(F.adjust_hue(Image.fromarray(colours), turn)).tobytes())
        lines.append(f"colours {turn} {found:08x}")
    (pathlib.Path(__file__).parent / "expected.txt").write_text("\n".join(lines) + "\n")


main()
