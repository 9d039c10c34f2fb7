"""Writes recipe.json: what PyTorch makes of clipped, accumulated and averaged steps, and torchvision of mixed images, in f64.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 torchvision==0.29.2
    venv/bin/python make_recipe.py > recipe.json

All numbers that go in are f32's, so that an f32 device starts from exactly these.
"""

import json

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.transforms import v2

STEPS, LEN, KEEP = 10, 7, 0.9
N, SIDE, CLASSES = 4, 9, 5
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()


def numbers(*shape):
    return torch.randn(*shape, generator=GENERATOR).double()


def ten_steps(clip, batches):
    """Ten batches, so many of which make a step; the averages follow each step."""
    both = [torch.nn.Parameter(START[name].clone()) for name in ("weight", "bias")]
    optimiser = torch.optim.SGD(both, lr=0.1, momentum=0.9)
    averages, average = [p.detach().clone() for p in both], get_ema_multi_avg_fn(KEEP)
    for step in range(STEPS):
        for parameter, name in zip(both, ("weight", "bias")):
            loss = (parameter * GRADS[name][step]).sum() / batches
            loss.backward()
        if (step + 1) % batches:
            continue
        clip(both)
        optimiser.step()
        optimiser.zero_grad()
        average(averages, [p.detach() for p in both], None)
    return {
        "weight": both[0].tolist(),
        "bias": both[1].tolist(),
        "average of weight": averages[0].tolist(),
        "average of bias": averages[1].tolist(),
    }


def clip_all(parameters):
    torch.nn.utils.clip_grad_norm_(parameters, 2.5)


def clip_alone(parameters):
    for parameter in parameters:
        torch.nn.utils.clip_grad_norm_([parameter], 2.0)


def mixed(transform, params):
    pixels = torch.tensor([i * 31 % 251 for i in range(N * SIDE * SIDE * 3)]).reshape(N, SIDE, SIDE, 3)
    images = ((pixels.double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    labels = torch.tensor([1, 4, 0, 4])
    params = {"labels": labels, "batch_size": N, **params}
    images, labels = transform.transform(images, params), transform.transform(labels, params)
    logits = LOGITS.clone().requires_grad_()
    loss = F.cross_entropy(logits, labels.double(), label_smoothing=0.1)
    loss.backward()
    return {
        "images": images.permute(0, 2, 3, 1).flatten().tolist(),
        "loss": loss.item(),
        "grad": logits.grad.flatten().tolist(),
    }


GENERATOR = torch.Generator().manual_seed(2)
START = {name: numbers(LEN) for name in ("weight", "bias")}
GRADS = {name: numbers(STEPS, LEN) for name in ("weight", "bias")}
LOGITS = numbers(N, CLASSES)
plain = lambda tensors: {name: tensor.tolist() for name, tensor in tensors.items()}
after = {
    "clip": ten_steps(clip_all, 1),
    "clip alone": ten_steps(clip_alone, 1),
    "accumulate": ten_steps(lambda _: None, 2),
}
# columns 2 to 6 and rows 3 to 9 of 9 x 9
box = {"box": (2, 3, 7, 9), "lam_adjusted": 1 - 5 * 6 / SIDE**2}
mixes = {
    "mixup": mixed(v2.MixUp(num_classes=CLASSES), {"lam": 0.6875}),
    "cutmix": mixed(v2.CutMix(num_classes=CLASSES), box),
}
out = {"start": plain(START), "grads": plain(GRADS), "after": after, "logits": LOGITS.flatten().tolist(), "mixes": mixes}
print(json.dumps(out, indent=1))
