// record_step: what a step gave goes to its row, and the step's number goes on.
//     results[step mod rows] = loss, right answers, distance^2, norm^2;  step += 1 where the loss is finite, or always
// outcome [2] = loss, right answers; distance [2] = squares of the drift's two norms, or none; results [rows, 4]; step [1].
// Mapping: one thread.    No shared memory.    Latency-bound: some forty bytes.    Oracle: src/host.rs
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(32)
record_step(float* __restrict__ results, float* __restrict__ step, const float* __restrict__ outcome,
            const float* __restrict__ distance, uint32_t rows, uint32_t always) {
    if (threadIdx.x != 0) return;
    float* row = results + uint64_t(*step) % rows * 4;
    row[0] = outcome[0];
    row[1] = outcome[1];
    row[2] = distance ? distance[0] : 0.0f;
    row[3] = distance ? distance[1] : 0.0f;
    if (always || isfinite(outcome[0])) *step += 1.0f;
}
