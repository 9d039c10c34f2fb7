#!/usr/bin/env python3
"""Golden numbers: the tiny residual net in plain PyTorch, float64, on one fixed batch.

    python3 -m pip install torch==2.13.0 numpy safetensors
    python3 tests/golden/make_golden.py             # writes euler.safetensors and heun.safetensors beside this file

Two runs on one machine write the same bytes; another processor or PyTorch may differ in the last digits.
README.md beside this file lists the tensors. Nothing here shares code with the engine.

    x_0  = relu(bn(conv5x5(images)))        stride 3, padding 1, 3 -> C: C x 10 x 10
    f    = bn2 . conv3x3 . relu . bn1 . conv3x3       padding 1; no convolution has a bias
    Euler: x_{n+1} = x_n + h f_n(x_n)                                                       n = 0 .. N-1
    Heun : k1 = f_n(x_n), k2 = f_{n+1}(x_n + h k1), x_{n+1} = x_n + h/2 (k1 + k2)           n = 0 .. N-2
    loss = mean cross-entropy of linear(flatten(avg_pool4(x_N)))                            h = 1/N

The file is checked before it is written: gradients against central differences, the pullback of the adjoint run at
the true states against autograd, and the stored weights, loaded back, against the stored logits.
"""

import copy
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

DEPTH, CHANNELS, BATCH, CLASSES = 4, 8, 5, 10
LR, WEIGHT_DECAY = 0.1, 5e-4
# Seeds with no ReLU input within RELU_MARGIN of the kink, in any pass: f32 takes the same side everywhere.
SEEDS = {"euler": 8, "heun": 235}
RELU_MARGIN = 5e-5


class Relu(nn.Module):
    """ReLU that remembers how near to the kink its inputs came."""

    def __init__(self):
        super().__init__()
        self.margin = float("inf")

    def forward(self, x):
        self.margin = min(self.margin, x.detach().abs().min().item())
        return F.relu(x)


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CHANNELS, 5, stride=3, padding=1, bias=False)
        self.bn, self.relu = nn.BatchNorm2d(CHANNELS), Relu()

    def forward(self, images):
        return self.relu(self.bn(self.conv(images)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(CHANNELS), Relu()
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(CHANNELS)

    def forward(self, x):
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Net(nn.Module):
    """BN is in train mode throughout: every evaluation of a block moves its running statistics."""

    def __init__(self, scheme):
        super().__init__()
        self.stem, self.blocks = Stem(), nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Linear(4 * CHANNELS, CLASSES)
        self.scheme, self.h = scheme, 1.0 / DEPTH
        self.steps = DEPTH if scheme == "euler" else DEPTH - 1

    def step(self, x, n):
        h, f = self.h, self.blocks
        if self.scheme == "euler":
            return x + h * f[n](x)
        k1 = f[n](x)
        k2 = f[n + 1](x + h * k1)
        return x + h / 2 * (k1 + k2)

    def reverse_step(self, x, n):
        h, f = self.h, self.blocks
        if self.scheme == "euler":
            return x - h * f[n](x)
        k1 = f[n + 1](x)
        k2 = f[n](x - h * k1)
        return x - h / 2 * (k1 + k2)

    def states(self, images):
        """[x_0, .., x_N]."""
        x = [self.stem(images)]
        for n in range(self.steps):
            x.append(self.step(x[-1], n))
        return x

    def logits(self, x):
        return self.head(F.avg_pool2d(x, 4).flatten(1))

    def forward(self, images):
        return self.logits(self.states(images)[-1])


def random_net(scheme):
    """PyTorch's default weights; gammas around 1, betas around 0, bn2 included. All values fit f32."""
    net = Net(scheme)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        for p in net.parameters():
            p.copy_(p.float())
    return net


def exact_gradient(net, images, labels):
    """(loss, {name: gradient}) by autograd through the stored states."""
    loss = F.cross_entropy(net(images), labels)
    return loss, dict(zip(dict(net.named_parameters()), torch.autograd.grad(loss, list(net.parameters()))))


def adjoint_gradient(net, images, labels, true_states=None):
    """({name: gradient}, x~_0): reverse step from x~_{n+1}, then the VJP of the forward step at x~_n.

    BN uses batch statistics in every pass. `true_states` replaces every x~_n; the gradient is then the exact one.
    """
    grads = {name: torch.zeros_like(p) for name, p in net.named_parameters()}

    def pull(output, grad_output, x, module):
        """Adds dL/dtheta of `module` to `grads`, returns dL/dx."""
        names = [name for name, p in net.named_parameters() if any(p is q for q in module.parameters())]
        inputs = [net.get_parameter(name) for name in names] + ([] if x is None else [x])
        parts = torch.autograd.grad(output, inputs, grad_output, allow_unused=True)
        for name, part in zip(names, parts):
            if part is not None:  # a Heun step touches two blocks only
                grads[name] += part
        return parts[-1]

    with torch.no_grad():
        x_rec = net.states(images)[-1]
    x = x_rec.clone().requires_grad_(True)
    grad_x = pull(F.cross_entropy(net.logits(x), labels), None, x, net.head)
    for n in reversed(range(net.steps)):
        with torch.no_grad():
            x_rec = net.reverse_step(x_rec, n) if true_states is None else true_states[n]
        x = x_rec.detach().clone().requires_grad_(True)
        grad_x = pull(net.step(x, n), grad_x, x, net.blocks)
    pull(net.stem(images), grad_x, None, net.stem)
    return grads, x_rec.detach()


def check_differences(net, grads, images, labels):
    """<grad, v> = (L(theta + d v) - L(theta - d v)) / 2d, v a random direction in one tensor, |v| = 1."""
    d = 1e-6
    for name, grad in grads.items():
        theta, v = net.get_parameter(name), torch.randn_like(grad)
        v, start, loss = v / v.norm(), theta.detach().clone(), []
        with torch.no_grad():
            for sign in (1, -1):
                theta.copy_(start + sign * d * v)
                loss.append(F.cross_entropy(net(images), labels).item())
            theta.copy_(start)
        slope, expected = (loss[0] - loss[1]) / (2 * d), (grad * v).sum().item()
        # Rounding: a few 1e-16 in a loss of about 2, divided by 2d.
        assert abs(slope - expected) < 1e-8, f"{name}: difference {slope}, gradient {expected}"


def relative_error(found, expected):
    flat = [torch.cat([t.flatten() for t in g.values()]) for g in (found, expected)]
    return ((flat[0] - flat[1]).norm() / flat[1].norm()).item()


def to_engine(name, t):
    """NCHW -> NHWC, OIHW -> HWIO, head [K, (c, h, w)] -> [(h, w, c), K]."""
    t = t.detach()
    if name.endswith("head.weight"):
        return t.reshape(CLASSES, CHANNELS, 2, 2).permute(2, 3, 1, 0).reshape(-1, CLASSES).contiguous()
    if name.endswith("conv.weight") or name.endswith(("conv1.weight", "conv2.weight")):
        return t.permute(2, 3, 1, 0).contiguous()
    return (t.permute(0, 2, 3, 1) if t.ndim == 4 else t).contiguous()


def load_into(net, path):
    """The loader of README.md: a file in the engine's names and layouts into a PyTorch net."""
    saved = load_file(path)
    state = {k: v.permute(3, 2, 0, 1) if v.ndim == 4 else v for k, v in saved.items()}  # HWIO -> OIHW
    w = saved["head.weight"]  # [(h, w, c), K] -> [K, (c, h, w)]
    state["head.weight"] = w.reshape(2, 2, -1, w.shape[1]).permute(3, 2, 0, 1).flatten(1)
    return net.load_state_dict(state, strict=False)


def check_loader(scheme, path):
    saved, net = load_file(path), Net(scheme)
    missing = load_into(net, path).missing_keys
    assert all(k.endswith("num_batches_tracked") for k in missing), missing
    with torch.no_grad():
        logits = net(saved["images"].double().permute(0, 3, 1, 2))
    assert torch.allclose(logits, saved["logits"], rtol=0, atol=1e-13)


def make(scheme, path):
    torch.manual_seed(SEEDS[scheme])
    net = random_net(scheme)
    images = torch.randn(BATCH, 3, 32, 32).float().double()
    labels = torch.randint(CLASSES, (BATCH,))
    probe = copy.deepcopy(net)  # for the checks and the adjoint, so that `net` sees one forward pass only

    with torch.no_grad():
        states = probe.states(images)
        logits = probe.logits(states[-1])
    loss, grads = exact_gradient(net, images, labels)
    adjoint, x0_rec = adjoint_gradient(probe, images, labels)

    margin = min(m.margin for part in (net, probe) for m in part.modules() if isinstance(m, Relu))
    assert margin > RELU_MARGIN, f"a ReLU input {margin:.1e} from the kink: take another seed"
    pulled, _ = adjoint_gradient(probe, images, labels, true_states=states)
    assert relative_error(pulled, grads) < 1e-13
    check_differences(probe, grads, images, labels)

    out = {"labels": labels.double(), "loss": loss.reshape(1), "logits": logits}
    out |= {"x0": states[0], "xN": states[-1], "adjoint.x0": x0_rec}
    out |= {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    for name, theta in net.named_parameters():
        out[f"grad.{name}"] = grads[name]
        out[f"adjoint.grad.{name}"] = adjoint[name]
        velocity = grads[name] + WEIGHT_DECAY * theta  # momentum counts from the second step
        out[f"after_sgd.{name}"] = theta - LR * velocity
    out = {name: to_engine(name, t) for name, t in out.items()}
    assert all(t.dtype == torch.float64 for t in out.values())
    out["images"] = to_engine("images", images).float()  # exact, and half the bytes
    save_file(out, path)
    check_loader(scheme, path)

    drift = ((x0_rec - states[0]).norm() / states[0].norm()).item()
    print(f"{path.name}: {path.stat().st_size} bytes, loss {loss.item():.15f}, adjoint gradient off by "
          f"{relative_error(adjoint, grads):.3e}, drift {drift:.3e}, nearest ReLU kink {margin:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    for scheme in SEEDS:
        make(scheme, pathlib.Path(__file__).with_name(f"{scheme}.safetensors"))
