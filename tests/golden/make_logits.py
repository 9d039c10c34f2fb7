"""Writes torchvision_logits.json: what torchvision's ResNets answer with weights drawn by name.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 torchvision==0.29.2
    venv/bin/python make_logits.py > torchvision_logits.json

The tests draw the same weights: a value is a hash of its tensor's name and its place there.
"""

import json

import numpy as np
import torch
import torchvision

CLASSES, SIDE, IMAGES = 12, 64, 2
MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def seed(name):
    """FNV-1a of the name's bytes."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def uniform(name, count):
    """Numbers from -1 up to 1 that f32 holds: splitmix64 of the place, from the name's seed."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / float(1 << 23) - 1.0).astype(np.float32)


def value(name, shape):
    """A tensor's values: convolutions that keep a signal's size, norms near 1, and short increments."""
    u = uniform(name, int(np.prod(shape))).reshape(shape)
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        return u * np.float32(np.sqrt(np.float32(6.0 if len(shape) == 4 else 3.0) / np.float32(fan_in)))
    if name.endswith("running_var"):
        return np.float32(1.0) + np.float32(0.5) * u
    if name.endswith("running_mean") or name.endswith("bias"):
        return np.float32(0.1) * u
    return np.float32(0.5) + np.float32(0.2) * u


def main():
    answers = {}
    for name in ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]:
        net = getattr(torchvision.models, name)(weights=None, num_classes=CLASSES).eval()
        state = net.state_dict()
        for tensor, held in state.items():
            if not tensor.endswith("num_batches_tracked"):
                state[tensor] = torch.from_numpy(value(tensor, tuple(held.shape)).copy())
        net.load_state_dict(state, strict=True)
        images = torch.from_numpy(uniform("images", IMAGES * 3 * SIDE * SIDE).reshape(IMAGES, 3, SIDE, SIDE).copy())
        with torch.no_grad():
            logits = net.double()(images.double())
        answers[name] = [[round(x, 9) for x in row] for row in logits.tolist()]
    print(json.dumps({"torchvision": torchvision.__version__.split("+")[0], "logits": answers}))


if __name__ == "__main__":
    main()
