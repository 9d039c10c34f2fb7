// How far a reconstruction is from the state y that it should be, beside whatever else a launch does with y.
//     out = [sum (x - y)^2, sum y^2] + 0 verdict, y rounded to the grid's multiples first where there is a grid
// x, y [len]; grid [1], or none; verdict [2], or none: where it is no number, neither is out.
#pragma once
#include "code.cuh"
#include "last.cuh"

struct Drift {
    // The reconstruction; none where nothing is measured.
    const float *x, *grid, *verdict;
    PairSum to;
};
static_assert(sizeof(Drift) == 48, "src/cuda/operand.rs declares the same");

// A thread's share.
struct DriftSums {
    float big, distance, norm;

    __device__ explicit DriftSums(const Drift& of) : big(of.grid ? rounding(*of.grid) : 0.0f), distance(0.0f), norm(0.0f) {}
    __device__ void add(float x, float y) {
        if (big > 0.0f) y = on_grid(y, big);
        const float d = x - y;
        distance = fmaf(d, d, distance);
        norm = fmaf(y, y, norm);
    }
    // `scratch`: 32 floats.
    __device__ void finish(const Drift& of, float* scratch) const {
        finish_pair(of.to, distance, norm, scratch, [&](float distance, float norm) {
            of.to.out[0] = of.verdict ? fmaf(0.0f, of.verdict[0], distance) : distance;
            of.to.out[1] = of.verdict ? fmaf(0.0f, of.verdict[1], norm) : norm;
        });
    }
};
