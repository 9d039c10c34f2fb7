// faults_barriers: block barriers that some threads miss, and asynchronous copies used too early; the arguments decide.
#define SHARED(p) ((unsigned)__cvta_generic_to_shared(p))

// Threads from `from` on skip the barrier.
extern "C" __global__ void skips(int* out, int from) {
    if ((int)threadIdx.x < from) __syncthreads();
    out[threadIdx.x] = 1;
}
// They end before it.
extern "C" __global__ void leaves(int* out, int from) {
    if ((int)threadIdx.x >= from) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
// They end behind it.
extern "C" __global__ void leaves_later(int* out, int from) {
    __syncthreads();
    if ((int)threadIdx.x >= from) return;
    out[threadIdx.x] = 1;
}
// They reach another one.
extern "C" __global__ void elsewhere(int* out, int from) {
    if ((int)threadIdx.x < from) {
        out[threadIdx.x] = 1;
        asm volatile("bar.sync 0; // here" ::: "memory");
    } else {
        asm volatile("bar.sync 0; // there" ::: "memory");
        out[threadIdx.x] = 2;
    }
}
// Thread i goes round i / every times more than once.
extern "C" __global__ void rounds(int* out, int every) {
    for (int i = 0; i <= (int)threadIdx.x / every; i++) __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void counts(int* out, int from) {
    if ((int)threadIdx.x < from) out[threadIdx.x] = __syncthreads_count(threadIdx.x & 1);
}
// The first two warps of four meet at barrier 1, the others at barrier 2, all for `count` threads.
extern "C" __global__ void named(int* out, int count) {
    __shared__ int tile[128];
    tile[threadIdx.x] = threadIdx.x;
    asm volatile("barrier.sync %0, %1;" ::"r"(1 + threadIdx.x / 64), "r"(count) : "memory");
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// Warp 0 arrives and goes on, warp 1 waits for it and reads what it wrote; `arrives` 0: nobody does.
extern "C" __global__ void produces(int* out, int arrives) {
    __shared__ int tile[32];
    if (threadIdx.x < 32) {
        tile[threadIdx.x] = threadIdx.x;
        if (arrives) asm volatile("barrier.arrive 3, 64;" ::: "memory");
    } else {
        asm volatile("barrier.sync 3, 64;" ::: "memory");
        out[threadIdx.x] = tile[threadIdx.x - 32];
    }
}
extern "C" __global__ void differing_counts(int* out, int second) {
    int count = threadIdx.x < 32 ? 64 : second;
    asm volatile("barrier.sync 4, %0;" ::"r"(count) : "memory");
    out[threadIdx.x] = 1;
}
extern "C" __global__ void numbered(int* out, int number) {
    asm volatile("barrier.sync %0;" ::"r"(number) : "memory");
    out[threadIdx.x] = 1;
}
// A barrier that need not be reached together: two halves of a warp come to it in different places.
extern "C" __global__ void unaligned(int* out) {
    if (threadIdx.x & 16) asm volatile("barrier.sync 5; // odd" ::: "memory");
    else asm volatile("barrier.sync 5; // even" ::: "memory");
    out[threadIdx.x] = 1;
}

__device__ void copy(int* to, const int* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(SHARED(to)), "l"(from) : "memory");
}
// A thread reads what it has copied itself.
extern "C" __global__ void copies(int* out, const int* x, int wait) {
    __shared__ int tile[64];
    copy(tile + threadIdx.x, x + threadIdx.x);
    if (wait) asm volatile("cp.async.wait_all;" ::: "memory");
    out[threadIdx.x] = tile[threadIdx.x];
}
// Two groups; the second may be pending still, and `second` is read or not.
extern "C" __global__ void two_groups(int* out, const int* x, int second) {
    __shared__ int tile[2][64];
    copy(tile[0] + threadIdx.x, x + threadIdx.x);
    asm volatile("cp.async.commit_group;" ::: "memory");
    copy(tile[1] + threadIdx.x, x + threadIdx.x);
    asm volatile("cp.async.commit_group;\ncp.async.wait_group 1;" ::: "memory");
    out[threadIdx.x] = tile[second][threadIdx.x];
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}
// A copy that was never committed is not waited for.
extern "C" __global__ void uncommitted(int* out, const int* x, int commit) {
    __shared__ int tile[64];
    copy(tile + threadIdx.x, x + threadIdx.x);
    if (commit) asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    out[threadIdx.x] = tile[threadIdx.x];
}
// Waited for, but by another thread than the one that reads: a barrier has to follow.
extern "C" __global__ void copies_for_others(int* out, const int* x, int meet) {
    __shared__ int tile[64];
    copy(tile + threadIdx.x, x + threadIdx.x);
    asm volatile("cp.async.wait_all;" ::: "memory");
    if (meet) __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// Meeting is not waiting.
extern "C" __global__ void meets_unwaited(int* out, const int* x, int wait) {
    __shared__ int tile[64];
    copy(tile + threadIdx.x, x + threadIdx.x);
    if (wait) asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// The tile is overwritten by the next copy while others may still read it.
extern "C" __global__ void copies_again(int* out, const int* x, int meet) {
    __shared__ int tile[64];
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        copy(tile + threadIdx.x, x + threadIdx.x);
        asm volatile("cp.async.wait_all;" ::: "memory");
        __syncthreads();
        sum += tile[threadIdx.x ^ 32];
        if (meet) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
extern "C" __global__ void copies_past_the_end(int* out, const int* x, int at) {
    __shared__ int tile[64];
    copy(tile + threadIdx.x, x + threadIdx.x + at);
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[threadIdx.x] = tile[threadIdx.x];
}
