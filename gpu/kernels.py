#!/usr/bin/env python3
"""Rows of kernels.csv: of one net from `ncu --import FILE --csv --page raw --print-units base`, or of the bench blocks.

    kernels.py header
    kernels.py NET NCU.csv              one training step: the launches from its draw_batch to its record_step
    kernels.py operations BLOCKS.csv
"""
import csv, statistics, sys

COLUMNS = ["net", "kernel", "launches_per_step", "us_median", "us_per_step", "dram_MB", "sm_percent", "tensor_instructions", "registers"]
TIME, DRAM, SM = "gpu__time_duration.sum", "dram__bytes.sum", "sm__throughput.avg.pct_of_peak_sustained_elapsed"
TENSOR = ["smsp__inst_executed_pipe_tensor.sum", "sm__inst_executed_pipe_tensor_op_hmma.sum"]
REGISTERS = "launch__registers_per_thread"
TO_BASE = {"ns": 1e-9, "us": 1e-6, "usecond": 1e-6, "nsecond": 1e-9, "ms": 1e-3, "msecond": 1e-3, "s": 1.0, "second": 1.0,
           "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def launches(path):
    """One dict of numbers per launch, in order; without ncu's own messages. The second row holds units."""
    with open(path, newline="", errors="replace") as f:
        rows = list(csv.reader(line for line in f if line.startswith('"')))
    if len(rows) < 3 or "Kernel Name" not in rows[0]:
        sys.exit("ncu profiled no kernel")
    names, units = rows[0], rows[1]
    found = []
    for row in rows[2:]:
        one = {}
        for name, unit, text in zip(names, units, row):
            if name == "Kernel Name":
                one[name] = text.split("(")[0]
            elif name in (TIME, DRAM, SM, REGISTERS, *TENSOR):
                try:
                    one[name] = float(text.replace(",", "")) * TO_BASE.get(unit, 1.0)
                except ValueError:
                    pass  # "n/a"
        found.append(one)
    return found


def one_step(found):
    """The last whole training step. The test after it draws batches too, but no sgd follows them."""
    starts = [i for i, one in enumerate(found) if one["Kernel Name"] == "draw_batch"]
    parts = [found[a:b] for a, b in zip(starts, starts[1:] + [len(found)])]
    training = []
    for part in parts:
        names = [one["Kernel Name"] for one in part]
        if "sgd" in names and "record_step" in names:
            training.append(part[: names.index("record_step") + 1])
    if not training:
        sys.exit("ncu saw no whole step")
    return training[-1]


def rows_of(net, step):
    by_name = {}
    for one in step:
        by_name.setdefault(one["Kernel Name"], []).append(one)

    def median(group, names, scale, digits):
        values = [one[name] * scale for one in group for name in names if name in one]
        return round(statistics.median(values), digits) if values else ""

    rows = []
    for name, group in by_name.items():
        all_us = round(sum(one.get(TIME, 0.0) for one in group) * 1e6, 2)
        rows.append([net, name, len(group), median(group, [TIME], 1e6, 2), all_us, median(group, [DRAM], 1e-6, 3), median(group, [SM], 1, 1),
                     median(group, TENSOR, 1, 0), median(group, [REGISTERS], 1, 0)])
    return sorted(rows, key=lambda row: -row[4])


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    if sys.argv[1:] == ["header"]:
        out.writerow(COLUMNS)
    elif len(sys.argv) == 3 and sys.argv[1] == "operations":
        with open(sys.argv[2], newline="") as f:
            rows = [["operations", r["id"], "", round(float(r["median_seconds"]) * 1e6, 2)] + [""] * 5 for r in csv.DictReader(f)]
        out.writerows(sorted(rows, key=lambda row: -row[3]))
    elif len(sys.argv) == 3:
        out.writerows(rows_of(sys.argv[1], one_step(launches(sys.argv[2]))))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
