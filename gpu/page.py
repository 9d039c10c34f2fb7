#!/usr/bin/env python3
"""README.md and steps.svg from the CSVs that gpu/measure leaves in a folder; what is missing is left out.

    python3 gpu/page.py DIR
"""
import csv, os, sys
from html import escape

MODES = ["auto", "coded", "adjoint", "corrected", "checkpoint", "backprop"]
MATHS = ["tf32", "fp16"]


def read(folder, name):
    try:
        with open(os.path.join(folder, name), newline="", errors="replace") as f:
            return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(f)]
    except OSError:
        return []


def number(row, key):
    try:
        return float(row[key]) if row else None
    except (KeyError, ValueError, TypeError):
        return None


def show(x, digits=None):
    """Three figures or more, so that a reader can compare."""
    if x is None:
        return ""
    if digits is None:
        digits = 0 if abs(x) >= 1000 else 1 if abs(x) >= 100 else 2 if abs(x) >= 1 else 3
    return f"{x:.{digits}f}"


def ratio(a, b):
    return f"{a / b:.2f}" if a is not None and b else ""


def table(head, rows):
    """A Markdown table; a column is to the right if its title ends in '>'."""
    line = lambda cells: "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"
    return [line(h.rstrip(">") for h in head), line("---:" if h.endswith(">") else "---" for h in head)] + [line(r) for r in rows] + [""]


# ---------------------------------------------------------------- ours and PyTorch's steps

NET = ["depth", "channels", "map", "batch"]


def net_of(row):
    return tuple(row.get(k, "") for k in NET)


def title(net):
    depth, channels, size, batch = net
    return f"depth {depth}, {channels} channels, {size.replace('x', ' x ')} maps, batch {batch}"


def nets_in(*tables):
    found = []
    for rows in tables:
        for row in rows:
            if net_of(row) not in found:
                found.append(net_of(row))
    return found


def best_peer(peers, net, math, backward):
    """PyTorch's fastest way."""
    rows = [r for r in peers if net_of(r) == net and r.get("math") == math and r.get("backward") == backward and number(r, "ms")]
    return min(rows, key=lambda r: number(r, "ms"), default=None)


def ours(steps, net, math, mode):
    return next((r for r in steps if net_of(r) == net and r.get("math") == math and r.get("mode") == mode), None)


def why_not(row):
    return row.get("said") or f"exit code {row.get('exit', '?')}"


def steps_section(steps, peers):
    if not steps:
        return []
    page = ["## A training step", "",
            "*ms*: median time of a step. *PyTorch*: its fastest way of those that ran, by `checkpoint` for our `checkpoint` and by `backprop` for all other modes.",
            "*Faster* and *smaller*: PyTorch's time and memory over ours. *MiB*: the highest sum of tensors, with parameters and optimiser, without the data set;",
            "*driver MiB*: what the driver counts for us with kernels and data. Our time has the drawing and augmenting of the batch in it, PyTorch's has not.", ""]
    stopped = []
    for net in nets_in(steps):
        rows = []
        for math in MATHS:
            for mode in MODES:
                row = ours(steps, net, math, mode)
                if row is None:
                    continue
                ms, mib = number(row, "ms"), number(row, "without_data_MiB")
                if row.get("exit") != "0":
                    stopped.append(f"{title(net)}, {mode}, {math}: {why_not(row)}")
                if row.get("exit") != "0" or ms is None:
                    rows.append([mode, math, "stopped" if ms is None else show(ms) + " (stopped)"] + [""] * 6 + [show(number(row, "driver_MiB"), 0)])
                    continue
                peer = best_peer(peers, net, math, "checkpoint" if mode == "checkpoint" else "backprop")
                their_ms, their_mib = number(peer, "ms"), number(peer, "peak_MiB")
                rows.append([mode, math, show(ms), show(their_ms), peer["how"] if peer else "", ratio(their_ms, ms), show(mib, 1), show(their_mib, 1),
                             ratio(their_mib, mib), show(number(row, "driver_MiB"), 0)])
        page += [f"### {title(net).capitalize()}", ""]
        page += table(["mode", "math", "ms>", "PyTorch ms>", "by", "faster>", "MiB>", "PyTorch MiB>", "smaller>", "driver MiB>"], rows)
    if stopped:
        page += ["**Stopped before its end:**", ""] + [f"- {text}" for text in stopped] + [""]
    return page


def peers_section(peers):
    if not peers:
        return []
    rows, failed = [], []
    for r in peers:
        if number(r, "ms") is None:
            failed.append(f"- {title(net_of(r))}, {r.get('backward')}, {r.get('how')}, {r.get('math')}: {r.get('said')}")
            continue
        rows.append([r["depth"], r["channels"], r["map"], r["batch"], r["backward"], r["how"], r["math"], show(number(r, "ms")),
                     show(number(r, "peak_MiB"), 1), show(number(r, "reserved_MiB"), 0)])
    page = ["## All that PyTorch did", "",
            "*graph*: the step is one CUDA graph; *compile*: residual steps by `torch.compile`; *fp16*: autocast. *MiB*: peak of what it allocated; *held*: of what",
            "its allocator took from the driver.", ""]
    page += table(["depth>", "channels>", "map", "batch>", "backward", "how", "math", "ms>", "MiB>", "held MiB>"], rows)
    return page + (["**Failed:**", ""] + failed + [""] if failed else [])


# ---------------------------------------------------------------- the other sections


def facts_section(machine):
    rows = [(r.get("key", ""), r.get("value", "")) for r in machine if r.get("key") != "left out"]
    return ["## The machine", ""] + table(["what", "value"], rows) if rows else []


def tests_section(tests, sanitizer):
    page = []
    if tests:
        page += ["## Tests on the GPU", ""]
        page += table(["suite", "passed>", "failed>", "seconds>", "outcome"],
                      [[r.get(k, "") for k in ("suite", "passed", "failed", "seconds", "outcome")] for r in tests])
    if sanitizer:
        page += ["## compute-sanitizer", "", "Each row is one test of `devices`.", ""]
        page += table(["tool", "test", "errors>", "seconds>", "outcome"],
                      [[r.get("tool", ""), f"`{r.get('test', '')}`"] + [r.get(k, "") for k in ("errors", "seconds", "outcome")] for r in sanitizer])
    return page


def kernels_section(kernels):
    if not kernels:
        return []
    if any(r.get("net") == "operations" for r in kernels):
        return ["## Operations", "", "The 15 longest operations of the bench `blocks` (median time), since ncu is not there.", ""] + table(
            ["operation", "us>"], [[f"`{r['kernel']}`", show(number(r, "us_median"))] for r in kernels[:15]])
    page = ["## Kernels", "",
            "One training step of a net with 2 blocks, gradient `auto`, launch by launch under ncu. It empties the caches before each launch, so what lies in",
            "cache in a real step is read from DRAM here. Per launch: medians. The 15 that take most of the step's time.", ""]
    nets = []
    for r in kernels:
        if r.get("net") not in nets:
            nets.append(r.get("net"))
    for net in nets:
        rows = sorted((r for r in kernels if r.get("net") == net), key=lambda r: -(number(r, "us_per_step") or 0))
        whole = sum(number(r, "us_per_step") or 0 for r in rows)
        count = sum(number(r, "launches_per_step") or 0 for r in rows)
        page += [f"### `{net}`: {whole:.0f} us in {count:.0f} launches", ""]
        page += table(["kernel", "launches>", "us>", "us per step>", "part>", "DRAM MB>", "SM %>", "tensor instructions>", "registers>"],
                      [[f"`{r['kernel']}`", r.get("launches_per_step", ""), show(number(r, "us_median")), show(number(r, "us_per_step"), 1),
                        f"{100 * (number(r, 'us_per_step') or 0) / whole:.1f} %" if whole else "", show(number(r, "dram_MB")), show(number(r, "sm_percent"), 1),
                        show(number(r, "tensor_instructions"), 0), show(number(r, "registers"), 0)] for r in rows[:15]])
    return page


def recipe_section(recipe):
    if not recipe:
        return []
    rows = []
    for r in recipe:
        accuracy = [number(r, k) for k in ("test_accuracy", "best_test_accuracy")]
        rows.append([r.get("mode", ""), r.get("epochs", ""), show(number(r, "seconds"), 1), show(number(r, "ms"))]
                    + [f"{100 * a:.2f} %" if a is not None else "" for a in accuracy]
                    + [show(number(r, "activations_MiB"), 1), show(number(r, "driver_MiB"), 0), "" if r.get("exit") == "0" else why_not(r)])
    return ["## The recipe", "", "The default net and all its epochs on CIFAR-10, seed 0. The best accuracy is chosen on test data.", ""] + table(
        ["mode", "epochs>", "seconds>", "ms per step>", "test accuracy>", "best>", "activations MiB>", "driver MiB>", "said"], rows)


# ---------------------------------------------------------------- the picture

COLOURS = {"ours": {"tf32": "#1f5fa8", "fp16": "#8fb8e6"}, "PyTorch": {"tf32": "#b3541e", "fp16": "#efb48c"}}
WIDE, LEFT, BAR, ROW, GAP = 560, 150, 11, 32, 20


def bars_of(steps, peers, net):
    """(label, whose, [(math, ms or None)]) from top to bottom."""
    found = []
    for mode in MODES:
        rows = [(math, ours(steps, net, math, mode)) for math in MATHS]
        values = [(math, number(r, "ms") if r.get("exit") == "0" else None) for math, r in rows if r]
        if values:
            found.append((mode, "ours", values))
    for backward in ("checkpoint", "backprop"):
        values = [(math, number(best_peer(peers, net, math, backward), "ms")) for math in MATHS]
        values = [(math, ms) for math, ms in values if ms is not None]
        if values:
            found.append((f"PyTorch {backward}", "PyTorch", values))
    return found


def text(x, y, words, size=13, anchor="start", weight="normal", fill="#222222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{fill}">{escape(str(words))}</text>')


def picture(steps, peers, gpu):
    """One panel per net, each with a scale of its own."""
    panels = [(net, bars_of(steps, peers, net)) for net in nets_in(steps, peers)]
    panels = [(net, bars) for net, bars in panels if bars]
    if not panels:
        return None
    parts, top, bottom = [], 92, 92
    for i in range(0, len(panels), 2):
        high = 0
        for j, (net, bars) in enumerate(panels[i : i + 2]):
            x0, y = j * WIDE + LEFT, top + 26
            parts.append(text(j * WIDE + 20, top, title(net), 14, weight="bold"))
            longest = max((ms for _, _, values in bars for _, ms in values if ms is not None), default=1.0) or 1.0
            room = WIDE - LEFT - 90
            for label, whose, values in bars:
                parts.append(text(x0 - 8, y + ROW / 2 - 1, label, 13, "end"))
                at = y + (ROW - 6 - BAR * len(values)) / 2
                for math, ms in values:
                    colour = COLOURS[whose][math]
                    if ms is None:
                        parts.append(text(x0 + 4, at + BAR - 1.5, f"{math}: stopped", 11, fill="#777777"))
                    else:
                        wide = max(1.0, room * ms / longest)
                        parts.append(f'<rect x="{x0}" y="{at:.1f}" width="{wide:.1f}" height="{BAR - 1}" fill="{colour}"/>')
                        parts.append(text(x0 + wide + 5, at + BAR - 1.5, f"{show(ms)} ms", 11))
                    at += BAR
                y += ROW
            parts.append(f'<line x1="{x0}" y1="{top + 22}" x2="{x0}" y2="{y - 2}" stroke="#888888" stroke-width="1"/>')
            high = max(high, y)
        bottom, top = high, high + GAP + 26
    width = WIDE * min(2, len(panels))
    width = max(width, 760)
    head = [text(20, 30, "Time of a training step" + (f", {gpu}" if gpu else ""), 18, weight="bold")]
    x = 20
    for whose, math in (("ours", "tf32"), ("ours", "fp16"), ("PyTorch", "tf32"), ("PyTorch", "fp16")):
        label = f"{whose}, {math}" + (" (its fastest way)" if whose == "PyTorch" else "")
        head.append(f'<rect x="{x}" y="47" width="14" height="12" fill="{COLOURS[whose][math]}"/>')
        head.append(text(x + 20, 58, label, 13))
        x += 50 + 7 * len(label)
    height = bottom + 16
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}">',
                      f'<rect x="0" y="0" width="{width}" height="{height:.0f}" fill="#ffffff"/>', *head, *parts, "</svg>", ""])


# ---------------------------------------------------------------- the page


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    folder = sys.argv[1]
    machine, tests, sanitizer, kernels, steps, peers, recipe = (
        read(folder, f"{name}.csv") for name in ("machine", "tests", "sanitizer", "kernels", "steps", "peers", "recipe"))
    fact = {r.get("key"): r.get("value") for r in machine}
    page = ["# " + (f"Measured on {fact['GPU']}" if fact.get("GPU") else "Measured on a GPU"), "", "Made by `gpu/measure`; every table is a CSV in this folder.", ""]
    drawn, place = picture(steps, peers, fact.get("GPU")), os.path.join(folder, "steps.svg")
    if drawn:
        with open(place, "w") as f:
            f.write(drawn)
        page += ["![Time of a training step, ours and PyTorch's](steps.svg)", ""]
    elif os.path.exists(place):
        os.remove(place)
    page += facts_section(machine) + tests_section(tests, sanitizer) + steps_section(steps, peers) + peers_section(peers)
    page += recipe_section(recipe) + kernels_section(kernels)
    left_out = [r.get("value", "") for r in machine if r.get("key") == "left out"]
    if left_out:
        page += ["## Left out", ""] + [f"- {words}" for words in left_out] + [""]
    with open(os.path.join(folder, "README.md"), "w") as f:
        f.write("\n".join(page).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
