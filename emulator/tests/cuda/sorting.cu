// sorting: a bitonic sort in shared memory, a radix pass, a merge by binary search, a walk down a tree.
extern __shared__ unsigned keys[];

// Sorts n keys a block, a power of two; more than 12288 need the opt-in above 48 KiB.
extern "C" __global__ void bitonic(unsigned* x, unsigned n) {
    unsigned base = blockIdx.x * n;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) keys[i] = x[base + i];
    for (unsigned size = 2; size <= n; size *= 2) {
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            __syncthreads();
            for (unsigned pair = threadIdx.x; pair < n / 2; pair += blockDim.x) {
                unsigned i = 2 * pair - (pair & (stride - 1)), j = i + stride;
                bool up = (i & size) == 0;
                unsigned a = keys[i], b = keys[j];
                if ((a > b) == up) keys[i] = b, keys[j] = a;
            }
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) x[base + i] = keys[i];
}

// One pass of a stable radix sort by four bits over a block of 256 keys, ranks by matching lanes.
extern "C" __global__ void __launch_bounds__(256) radix_pass(unsigned* y, const unsigned* x, int shift) {
    __shared__ unsigned counts[16][8], starts[16];
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x < 128) counts[threadIdx.x / 8][threadIdx.x % 8] = 0;
    __syncthreads();
    unsigned key = x[blockIdx.x * 256 + threadIdx.x], digit = key >> shift & 15;
    unsigned same = __match_any_sync(0xffffffffu, digit);
    unsigned rank = __popc(same & ((1u << lane) - 1));
    if (rank == 0) counts[digit][warp] = __popc(same);
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned sum = 0;
        for (int d = 0; d < 16; d++) {
            starts[d] = sum;
            for (int w = 0; w < 8; w++) {
                unsigned c = counts[d][w];
                counts[d][w] = sum - starts[d];
                sum += c;
            }
        }
    }
    __syncthreads();
    y[blockIdx.x * 256 + starts[digit] + counts[digit][warp] + rank] = key;
}

struct Node {
    float split;
    short axis;
    unsigned char leaf;
    int left, right;
};
// Counts the points of a k-d tree in a box, with a stack of nodes to visit.
extern "C" __global__ void count_in_box(int* found, const Node* nodes, const float3* lows, const float3* highs, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float low[3] = {lows[i].x, lows[i].y, lows[i].z}, high[3] = {highs[i].x, highs[i].y, highs[i].z};
    int stack[24], top = 0, count = 0;
    stack[top++] = 0;
    while (top > 0) {
        Node node = nodes[stack[--top]];
        if (node.leaf) {
            count += node.right;
            continue;
        }
        if (low[node.axis] <= node.split) stack[top++] = node.left;
        if (high[node.axis] > node.split) stack[top++] = node.right;
    }
    found[i] = count;
}

// A small machine: opcodes in a byte string, a switch over them.
__constant__ unsigned char program[32];
__device__ int executed;
extern "C" __global__ void interpret(long long* results, const long long* inputs, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long a = inputs[i], b = i;
    int steps = 0;
    for (int pc = 0; pc < 32; pc++, steps++) {
        switch (program[pc]) {
            case 0: pc = 32; break;
            case 1: a += b; break;
            case 2: a -= b; break;
            case 3: a *= b | 1; break;
            case 4: b = a ^ (a >> 7); break;
            case 5: a = b != 0 ? a / b : -1; break;
            case 6: a = b != 0 ? a % b : 7; break;
            case 7: if (a < 0) a = -a; break;
            case 8: if ((a & 1) && steps < 64) pc -= 3; break;
            case 9: a = __popcll(a) + __clzll(b); break;
            case 10: b = (long long)((unsigned long long)b >> 3 | (unsigned long long)b << 61); break;
            default: a = ~a;
        }
    }
    results[i] = a + b;
    atomicAdd(&executed, steps);
}
