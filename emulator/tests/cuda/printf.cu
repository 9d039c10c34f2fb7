// printf: device-side output and assertions.
#include <cassert>
#include <cstdio>
extern "C" __global__ void prints(int n) {
    if (threadIdx.x == 0) printf("block %d of %d, n = %d\n", blockIdx.x, gridDim.x, n);
    assert(n != 7);
}
