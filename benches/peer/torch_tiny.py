#!/usr/bin/env python3
"""The peer of `cargo bench --bench peer`: the same net as rewind's, in plain PyTorch, and the time of its training steps.

    x0   = relu(bn(stem(img)))          --map 10: conv5x5, stride 3, padding 1; --map 32: conv3x3, padding 1; no bias
    Euler: x <- x + f_i(x)/N                            i = 0..N-1
    Heun : y = x + f_i(x)/N; x <- x + (f_i(x) + f_{i+1}(y))/(2N)     i = 0..N-2
    f    = bn2 . conv3x3 . relu . bn1 . conv3x3         conv biases on, bn2 starts at 0
    out  = linear(flatten(avg_pool4(xN)))               10x10 -> 2x2, 32x32 -> 8x8

Ways to get the gradient of the residual stack (--backward):
    backprop    autograd stores every activation
    adjoint     stores xN only; going back, x <- x - f(x)/N (Heun: its approximate
                inverse), then a VJP at that rebuilt x. BN uses batch statistics in
                every pass. Running statistics move in the forward pass only.

Modes: `bench` prints one line of JSON with the median step, `peak` the speed of large products. By hand, with CIFAR-10's
binary files in DIR and `pip install torch numpy`:

    python3 benches/peer/torch_tiny.py bench --data DIR --backward adjoint --depth 16 --channels-last [--compile]
    python3 benches/peer/torch_tiny.py peak
"""
import argparse, json, os, resource, statistics, time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BN_MOM = 0.1

# ---------------------------------------------------------------- residual function


def residual(x, p, s, training, mom):
    """p: w1,b1,g1,h1,w2,b2,g2,h2 parameters; s: 4 running statistics or 4 None."""
    w1, b1, g1, h1, w2, b2, g2, h2 = p
    m1, v1, m2, v2 = s
    z = F.conv2d(x, w1, b1, padding=1)
    z = F.relu(F.batch_norm(z, m1, v1, g1, h1, training, mom))
    z = F.conv2d(z, w2, b2, padding=1)
    return F.batch_norm(z, m2, v2, g2, h2, training, mom)


NO_STATS = (None, None, None, None)


def make_steps(scheme, n, compiled):
    """step(x, blocks...) and its inverse, with h = 1/n a constant of the code."""
    h = 1.0 / n

    def euler(x, p, s, training, mom):
        return torch.add(x, residual(x, p, s, training, mom), alpha=h)

    def euler_inv(x, p):
        return torch.add(x, residual(x, p, NO_STATS, True, 0.0), alpha=-h)

    def heun(x, p, s, q, t, training, mom):
        f1 = residual(x, p, s, training, mom)
        f2 = residual(torch.add(x, f1, alpha=h), q, t, training, mom)
        return torch.add(x, f1 + f2, alpha=0.5 * h)

    def heun_inv(x, p, q):
        f2 = residual(x, q, NO_STATS, True, 0.0)
        f1 = residual(torch.add(x, f2, alpha=-h), p, NO_STATS, True, 0.0)
        return torch.add(x, f1 + f2, alpha=-0.5 * h)

    step, inv = (euler, euler_inv) if scheme == "euler" else (heun, heun_inv)
    if compiled:
        step = torch.compile(step, dynamic=False)
        inv = torch.compile(inv, dynamic=False)
    return step, inv


class Adjoint(torch.autograd.Function):
    """The whole residual stack as one node: keeps its output only."""

    @staticmethod
    def forward(ctx, x, net, *params):
        for args in net.step_args(track=True):
            x = net.step(x, *args, True, BN_MOM)
        ctx.net = net
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        net = ctx.net
        (x,) = ctx.saved_tensors
        blocks = [b.params() for b in net.blocks]
        acc = [None] * len(blocks)
        for i in reversed(range(net.n_steps)):
            used = blocks[i : i + net.arity]
            with torch.no_grad():
                x = net.inv(x, *used)
            x = x.detach().requires_grad_(True)
            with torch.enable_grad():
                args = [a for p in used for a in (p, NO_STATS)]
                out = net.step(x, *args, True, 0.0)
            flat = [t for p in used for t in p]
            g = torch.autograd.grad(out, [x] + flat, grad)
            del out
            grad = g[0]
            for k in range(net.arity):
                part = g[1 + 8 * k : 9 + 8 * k]
                old = acc[i + k]
                acc[i + k] = part if old is None else tuple(a + b for a, b in zip(old, part))
        return (grad, None) + tuple(t for a in acc for t in a)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        nn.init.zeros_(self.bn2.weight)
        nn.init.zeros_(self.bn2.bias)

    def params(self):
        a, b, c, d = self.conv1, self.bn1, self.conv2, self.bn2
        return (a.weight, a.bias, b.weight, b.bias, c.weight, c.bias, d.weight, d.bias)

    def stats(self):
        b, d = self.bn1, self.bn2
        return (b.running_mean, b.running_var, d.running_mean, d.running_var)


class TinyNet(nn.Module):
    def __init__(self, depth, channels, scheme, backward, compiled, side):
        super().__init__()
        kernel, stride = (5, 3) if side == 10 else (3, 1)
        self.stem = nn.Conv2d(3, channels, kernel, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels, momentum=BN_MOM)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(depth))
        self.linear = nn.Linear((side // 4) ** 2 * channels, 10)
        self.scheme, self.backward_mode = scheme, backward
        self.arity = 1 if scheme == "euler" else 2
        self.n_steps = depth - self.arity + 1
        self.step, self.inv = make_steps(scheme, depth, compiled)

    def step_args(self, track):
        blocks = list(self.blocks)
        for i in range(self.n_steps):
            yield [a for b in blocks[i : i + self.arity]
                   for a in (b.params(), b.stats() if track else NO_STATS)]

    def forward(self, img):
        x = F.relu(self.bn(self.stem(img)))
        if self.backward_mode == "adjoint":
            x = Adjoint.apply(x, self, *[t for b in self.blocks for t in b.params()])
        else:
            for args in self.step_args(track=True):
                x = self.step(x, *args, True, BN_MOM)
        x = F.avg_pool2d(x, 4)
        return self.linear(x.flatten(1))


# ---------------------------------------------------------------- data


def load(path, files):
    raw = np.concatenate([np.fromfile(os.path.join(path, f), np.uint8).reshape(-1, 3073) for f in files])
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(raw[:, 0].astype(np.int64))


_M, _S = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))


def normalise(x8):
    return (x8.float() / 255.0 - _M) / _S


def augment(x8, gen):
    b = len(x8)
    pad = F.pad(x8, (4, 4, 4, 4))
    dy, dx = torch.randint(0, 9, (2, b), generator=gen)
    flip = torch.rand(b, generator=gen) < 0.5
    ar = torch.arange(32)
    cols = torch.where(flip[:, None], 31 - ar, ar) + dx[:, None]
    rows = ar + dy[:, None]
    n = torch.arange(b)
    out = pad.permute(0, 2, 3, 1)[n[:, None, None], rows[:, :, None], cols[:, None, :]]
    return normalise(out.permute(0, 3, 1, 2))


# ---------------------------------------------------------------- measuring


def rss_mb():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def cpu_seconds():
    """(busy seconds of the whole machine, of this process); their difference is other people's load."""
    with open("/proc/stat") as f:
        t = [int(v) for v in f.readline().split()[1:9]]
    u = resource.getrusage(resource.RUSAGE_SELF)
    return (sum(t) - t[3] - t[4]) / os.sysconf("SC_CLK_TCK"), u.ru_utime + u.ru_stime


def emit(row):
    print(json.dumps({k: (round(v, 6) if isinstance(v, float) and abs(v) > 1e-3 else v) for k, v in row.items()}), flush=True)


def setup(a):
    torch.manual_seed(a.seed)
    net = TinyNet(a.depth, a.channels, a.scheme, a.backward, a.compile, a.map)
    if a.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return net, torch.optim.SGD(net.parameters(), lr=a.lr, momentum=0.9, weight_decay=5e-4, fused=True)


def layout(a, x):
    return x.contiguous(memory_format=torch.channels_last if a.channels_last else torch.contiguous_format)


def one_step(net, opt, x, y):
    opt.zero_grad(set_to_none=True)
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
    return loss


# ---------------------------------------------------------------- modes


def bench(a):
    imgs, labels = load(a.data, ["data_batch_1.bin"])
    gen = torch.Generator().manual_seed(a.seed)
    net, opt = setup(a)
    batches, t_aug = [], []
    for i in range(4):
        t = time.perf_counter()
        x = layout(a, augment(imgs[i * a.batch : (i + 1) * a.batch], gen))
        t_aug.append(time.perf_counter() - t)
        batches.append((x, labels[i * a.batch : (i + 1) * a.batch]))
    base = rss_mb()
    net.train()
    t0 = time.perf_counter()
    for i in range(a.warmup):
        one_step(net, opt, *batches[i % 4]).item()
        if i == 0:
            first = time.perf_counter() - t0
    c0 = cpu_seconds()
    times, t0 = [], time.perf_counter()
    for i in range(a.steps):
        t = time.perf_counter()
        loss = one_step(net, opt, *batches[i % 4]).item()
        times.append(time.perf_counter() - t)
        if time.perf_counter() - t0 > a.max_seconds and len(times) >= a.min_steps:
            break
    wall, c1 = time.perf_counter() - t0, cpu_seconds()
    others = max(0.0, (c1[0] - c0[0]) - (c1[1] - c0[1])) / wall
    med = statistics.median(times)
    emit(dict(mode="bench", torch=torch.__version__, scheme=a.scheme, backward=a.backward, depth=a.depth,
              channels=a.channels, map=a.map, batch=a.batch, threads=torch.get_num_threads(),
              channels_last=a.channels_last, compile=a.compile, steps=len(times), ms_median=med * 1e3,
              ms_min=min(times) * 1e3, ms_max=max(times) * 1e3, first_step_s=first, augment_ms=min(t_aug) * 1e3,
              rss_before_mb=base, peak_rss_mb=peak_mb(), other_cores=others, loss=loss))


def peak(a):
    for n in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(n)
        m, best = torch.randn(4096, 4096), 1e9
        m @ m
        for _ in range(5):
            t = time.perf_counter()
            m @ m
            best = min(best, time.perf_counter() - t)
        emit(dict(mode="peak", op="matmul4096_f32", threads=n, gflop_s=2 * 4096**3 / best / 1e9))
        x = torch.randn(1, 4096, 64, 64).contiguous(memory_format=torch.channels_last)
        w, best = torch.randn(4096, 4096, 1, 1).contiguous(memory_format=torch.channels_last), 1e9
        with torch.no_grad():
            for _ in range(5):
                t = time.perf_counter()
                F.conv2d(x, w)
                best = min(best, time.perf_counter() - t)
        emit(dict(mode="peak", op="conv1x1_4096_f32", threads=n, gflop_s=2 * 4096**3 / best / 1e9))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=["bench", "peak"])
    ap.add_argument("--scheme", choices=["euler", "heun"], default="euler")
    ap.add_argument("--backward", choices=["backprop", "adjoint"], default="backprop")
    ap.add_argument("--depth", type=int, default=8)
    ap.add_argument("--channels", type=int, default=16)
    ap.add_argument("--map", type=int, choices=[10, 32], default=10, help="rows and columns of the blocks' maps")
    ap.add_argument("--batch", type=int, default=256)
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--min-steps", type=int, default=5)
    ap.add_argument("--warmup", type=int, default=4)
    ap.add_argument("--max-seconds", type=float, default=40, help="stop early past this, after --min-steps")
    ap.add_argument("--lr", type=float, default=0.1)
    ap.add_argument("--data", default="cifar-10-batches-bin")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--channels-last", action="store_true")
    ap.add_argument("--compile", action="store_true")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    globals()[a.mode](a)


if __name__ == "__main__":
    main()
