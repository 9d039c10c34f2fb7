// divergence: loops whose trip count differs by lane, early exits, and a dense switch.
extern "C" __global__ void collatz(unsigned* steps, const unsigned* start, unsigned len) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    unsigned long long v = start[i];
    unsigned n = 0;
    while (v != 1) {
        v = v & 1 ? 3 * v + 1 : v / 2;
        if (++n > 1000) break;
    }
    steps[i] = n;
}
extern "C" __global__ void switches(int* out, const int* x, unsigned len) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    int v = x[i];
    switch (v) {
    case 0: v = out[i] * 7; break;
    case 1: v = out[i] / 3; break;
    case 2: out[i + len] = 4; break;
    case 3: v ^= out[i + 1]; break;
    case 4: v = __clz(v); break;
    case 5: for (int k = 0; k < v; k++) out[i] += x[k]; break;
    case 6: __trap();
    default: v = -v;
    }
    out[i] = v;
}
