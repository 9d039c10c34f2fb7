// atomics: by all threads at once, each keeping the old value that it saw; and a lock.
extern "C" __global__ void many_atomics(unsigned* sums, unsigned long long* wide, float* f, double* d, uint2* old) {
    unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned before = atomicAdd(&sums[0], t);
    atomicMin(&sums[1], t), atomicMax(&sums[2], t), atomicXor(&sums[3], t), atomicOr(&sums[4], t);
    old[t] = make_uint2(before, atomicInc(&sums[5], 9));
    atomicAdd(wide, (1ull << 33) + 1);
    // Addition by compare and swap.
    unsigned seen = __float_as_uint(*(volatile float*)f), expected;
    do {
        expected = seen;
        seen = atomicCAS((unsigned*)f, expected, __float_as_uint(__uint_as_float(expected) + 0.5f));
    } while (seen != expected);
    atomicAdd(d, 0.25);
}
// A spin lock around a plain addition, taken by each thread in turn.
extern "C" __global__ void locked(unsigned* lock, unsigned* total) {
    for (bool done = false; !done;)
        if (atomicCAS(lock, 0u, 1u) == 0) {
            __threadfence();
            *(volatile unsigned*)total += blockIdx.x * blockDim.x + threadIdx.x;
            __threadfence();
            atomicExch(lock, 0u);
            done = true;
        }
}
