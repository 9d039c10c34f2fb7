#!/usr/bin/env python3
"""The nets of gpu/measure's steps in plain PyTorch on a CUDA GPU: time and memory of a training step, to a CSV.

    x0  = relu(bn(stem(img)))               10x10: conv5x5, stride 3, padding 1; 32x32: conv3x3, padding 1; no bias
    x   <- x + f_i(x)/N                     i = 0..N-1
    f   = bn2 . conv3x3 . relu . bn1 . conv3x3
    out = linear(flatten(avg_pool4(xN)))

backward    backprop stores every activation, checkpoint each x_n (torch.utils.checkpoint around each step)
how         eager; graph: the whole step is one CUDA graph; compile+graph: the residual step is compiled by torch.compile, too
math        tf32: products in TF32; fp16: autocast to half, without a scaler of the loss

Everything is channels-last, and cuDNN chooses its fastest algorithms. The images lie on the GPU: no step draws or augments.

    python3 gpu/torch_gpu.py --seconds 300 --out peers.csv      rows that the CSV has already are not measured again
"""
import argparse, csv, gc, os, statistics, sys, time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as torch_checkpoint

COLUMNS = ["depth", "channels", "map", "batch", "backward", "how", "math", "ms", "peak_MiB", "reserved_MiB", "said"]
# depth, channels, map, batch: those of gpu/measure
NETS = [(16, 16, "10x10", 256), (64, 16, "10x10", 256), (256, 16, "10x10", 256), (8, 64, "32x32", 128)]
BN_MOM = 0.1

# ---------------------------------------------------------------- the net


def residual(x, p, s, mom):
    """p: w1,b1,g1,h1,w2,b2,g2,h2 parameters; s: 4 running statistics."""
    w1, b1, g1, h1, w2, b2, g2, h2 = p
    m1, v1, m2, v2 = s
    z = F.conv2d(x, w1, b1, padding=1)
    z = F.relu(F.batch_norm(z, m1, v1, g1, h1, True, mom))
    z = F.conv2d(z, w2, b2, padding=1)
    return F.batch_norm(z, m2, v2, g2, h2, True, mom)


def make_step(n, compiled):
    h = 1.0 / n

    def step(x, p, s, mom):
        return torch.add(x, residual(x, p, s, mom), alpha=h)

    return torch.compile(step, dynamic=False) if compiled else step


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


class Net(nn.Module):
    def __init__(self, depth, channels, side, backward, compiled):
        super().__init__()
        kernel, stride = (5, 3) if side == 10 else (3, 1)
        self.stem = nn.Conv2d(3, channels, kernel, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels, momentum=BN_MOM)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(depth))
        self.linear = nn.Linear((side // 4) ** 2 * channels, 10)
        self.backward_mode = backward
        self.step = make_step(depth, compiled)

    def forward(self, img):
        x = F.relu(self.bn(self.stem(img)))
        for block in self.blocks:
            p, s = block.params(), block.stats()
            if self.backward_mode == "checkpoint":
                calls = []  # the second call is the recomputation: momentum 0 keeps the statistics

                def run(x, p, s, calls=calls):
                    calls.append(1)
                    return self.step(x, p, s, BN_MOM if len(calls) == 1 else 0.0)

                x = torch_checkpoint(run, x, p, s, use_reentrant=False, preserve_rng_state=False)
            else:
                x = self.step(x, p, s, BN_MOM)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


# ---------------------------------------------------------------- measuring


def measure(job, device="cuda", least=5, most=30, seconds=2.0):
    """Median milliseconds of a step, and MiB: the peak of what was allocated, and what PyTorch holds of the GPU."""
    depth, channels, size, batch, backward, how, math = job
    cuda = device == "cuda"
    torch.manual_seed(0)
    torch.compiler.reset()
    layout = torch.channels_last
    net = Net(depth, channels, int(size.split("x")[0]), backward, "compile" in how).to(device).to(memory_format=layout)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=layout)
    y = torch.randint(0, 10, (batch,), device=device)
    net.train()

    def step():
        opt.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.float16, enabled=math == "fp16", cache_enabled="graph" not in how):
            out = net(x)
        F.cross_entropy(out.float(), y).backward()
        opt.step()

    def settle():
        opt.zero_grad(set_to_none=True)
        gc.collect()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    call = step
    if "graph" in how:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                step()
        torch.cuda.current_stream().wait_stream(side)
        settle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        call = graph.replay
    else:
        for _ in range(3):
            step()
        settle()
    wait = torch.cuda.synchronize if cuda else lambda: None
    for _ in range(3):
        call()
    wait()
    times, begun = [], time.perf_counter()
    while len(times) < most and (len(times) < least or time.perf_counter() - begun < seconds):
        t = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - t)
    peak = [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()] if cuda else [0, 0]
    return [round(statistics.median(times) * 1e3, 4)] + [round(b / 2**20, 2) for b in peak]


def jobs():
    """The strongest first, so that they are there when the time is over."""
    for ways in (["graph", "compile+graph"], ["eager"]):
        for backward in ("backprop", "checkpoint"):
            for math in ("tf32", "fp16"):
                for net in NETS:
                    for how in ways:
                        yield (*net, backward, how, math)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seconds", type=float, default=300, help="begin no measurement after this")
    ap.add_argument("--out", required=True)
    ap.add_argument("--until", type=float, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA GPU")
    until = a.until or time.time() + a.seconds
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True

    done = set()
    if os.path.exists(a.out):
        with open(a.out, newline="") as f:
            done = {tuple(r[c] for c in COLUMNS[:7]) for r in csv.DictReader(f)}
    else:
        with open(a.out, "w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerow(COLUMNS)

    def write(job, found, said=""):
        with open(a.out, "a", newline="") as f:
            csv.writer(f, lineterminator="\n").writerow([*job, *found, said])
        print(*job, *found, said, flush=True)

    todo = [job for job in jobs() if tuple(map(str, job)) not in done]
    for i, job in enumerate(todo):
        if time.time() > until:
            print(f"left out: no time left for {len(todo) - i} measurements", flush=True)
            return
        try:
            found = measure(job)
        except Exception as e:  # whatever PyTorch, its compiler or the driver has against it: a row, and the next
            write(job, ["", "", ""], " ".join(f"{type(e).__name__}: {e}".split())[:200])
            # what failed may have left the GPU's context unusable: go on in a new process
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), "--out", a.out, "--until", str(until)])
        write(job, found)
        gc.collect()


if __name__ == "__main__":
    main()
