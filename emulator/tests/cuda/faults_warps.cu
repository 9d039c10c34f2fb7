// faults_warps: operations of a warp in which some lanes do not take part as they should; the arguments decide.
#define SHARED(p) ((unsigned)__cvta_generic_to_shared(p))

// Half the warp shuffles and reads from lane `from`.
extern "C" __global__ void half_shuffles(int* out, int from) {
    int v = threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_sync(0xffffu, v, from);
    out[threadIdx.x] = v;
}
// Lanes from `from` on have ended; the full mask still names them.
extern "C" __global__ void ended_lanes(int* out, int from, int step) {
    if ((int)threadIdx.x >= from) return;
    int v = threadIdx.x;
    v += __shfl_xor_sync(~0u, v, step);
    __syncwarp();
    out[threadIdx.x] = v + __ballot_sync(~0u, 1);
}
// A block that does not fill its last warp.
extern "C" __global__ void partial_down(int* out, int step) { out[threadIdx.x] = __shfl_down_sync(~0u, (int)threadIdx.x, step); }
extern "C" __global__ void partial_votes(int* out) {
    unsigned all = __ballot_sync(~0u, 1) + __reduce_add_sync(~0u, 1) + __popc(__activemask());
    __syncwarp();
    out[threadIdx.x] = all + __any_sync(~0u, threadIdx.x == 33) + __all_sync(~0u, threadIdx.x < 40);
}
extern "C" __global__ void segments(int* out, int width) {
    int v = threadIdx.x;
    for (int step = width / 2; step > 0; step /= 2) v += __shfl_down_sync(~0u, v, step, width);
    out[threadIdx.x] = v + __shfl_up_sync(~0u, v, 3, width) + __shfl_sync(~0u, v, 9, width);
}
// The mask is the same for all lanes, and may leave out some of those that call.
extern "C" __global__ void masked(int* out, unsigned mask) { out[threadIdx.x] = __shfl_sync(mask, (int)threadIdx.x, 5); }
extern "C" __global__ void masked_vote(int* out, unsigned mask) { out[threadIdx.x] = __any_sync(mask, 1); }
extern "C" __global__ void masked_sync(int* out, unsigned mask) {
    __syncwarp(mask);
    out[threadIdx.x] = 1;
}
// Half the lanes shuffle with a mask that names all, the others wait elsewhere: for them, or for nobody.
extern "C" __global__ void crossed(int* out, unsigned mask) {
    int v = threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_xor_sync(mask, v, 1);
    else __syncwarp();
    __syncwarp();
    out[threadIdx.x] = v;
}
// Two halves with masks of their own, in one instruction and in two.
extern "C" __global__ void two_masks(int* out) {
    unsigned mask = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
    int v = __shfl_xor_sync(mask, (int)threadIdx.x, 1);
    if (threadIdx.x < 16) v += __reduce_add_sync(0xffffu, 1);
    else v += __reduce_add_sync(0xffff0000u, 2);
    out[threadIdx.x] = v;
}
// Lanes meet in different places.
extern "C" __global__ void meets(int* out) {
    if (threadIdx.x & 1) { out[threadIdx.x] = 1; __syncwarp(); }
    else { __syncwarp(); out[threadIdx.x] = 2; }
}
extern "C" __global__ void brings_matrices(float* out, int lanes) {
    float d[4] = {};
    if ((int)threadIdx.x < lanes)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%4,%4}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(0x3f800000));
    out[threadIdx.x] = d[0];
}
extern "C" __global__ void loads_matrices(unsigned* out, int lanes, int at) {
    __shared__ __align__(16) unsigned short tile[64];
    tile[threadIdx.x] = threadIdx.x;
    tile[threadIdx.x + 32] = threadIdx.x;
    __syncthreads();
    unsigned v = 0;
    if ((int)threadIdx.x < lanes)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(v) : "r"(SHARED(tile) + threadIdx.x % 8 * 16 + at));
    out[threadIdx.x] = v;
}
// A lock that lanes of one warp take in turn.
extern "C" __global__ void locks(int* sum, int* lock) {
    for (bool done = false; !done;) {
        if (atomicCAS(lock, 0, 1) == 0) {
            __threadfence();
            *(volatile int*)sum += 1;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        }
    }
}
