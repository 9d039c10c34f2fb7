"""Writes optimisers.json: what PyTorch's optimisers make of two tensors in ten steps of given gradients, in f64.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0
    venv/bin/python make_optimisers.py > optimisers.json

The weight decays and the bias does not, in two parameter groups as recipes have them. All numbers that go in are f32's, so that an f32
device starts from exactly these.
"""

import json

import torch

STEPS, LEN = 10, 7
DECAY = 0.05
CASES = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01),
    "adamw, other numbers": lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-3),
}


def numbers(*shape):
    return torch.randn(*shape, generator=GENERATOR).double()


def ten_steps(make):
    weight, bias = (torch.nn.Parameter(START[name].clone()) for name in ("weight", "bias"))
    optimiser = make([{"params": [weight], "weight_decay": DECAY}, {"params": [bias], "weight_decay": 0.0}])
    for step in range(STEPS):
        weight.grad, bias.grad = GRADS["weight"][step].clone(), GRADS["bias"][step].clone()
        optimiser.step()
    return {"weight": weight.tolist(), "bias": bias.tolist()}


GENERATOR = torch.Generator().manual_seed(1)
START = {name: numbers(LEN) for name in ("weight", "bias")}
GRADS = {name: numbers(STEPS, LEN) for name in ("weight", "bias")}
plain = lambda tensors: {name: tensor.tolist() for name, tensor in tensors.items()}
after = {name: ten_steps(make) for name, make in CASES.items()}
print(json.dumps({"start": plain(START), "grads": plain(GRADS), "after": after}, indent=1))
