// faults_memory: accesses that the checks must find, and with other arguments the nearest ones that are right.
#include <cassert>
struct Numbers { int v[4]; };
__constant__ int fixed[4] = {1, 2, 3, 4};

// Global memory: `at` decides whether the access is in bounds, aligned and written.
extern "C" __global__ void global_read(int* out, const int* x, long long at) { out[threadIdx.x] = x[at + (int)threadIdx.x]; }
extern "C" __global__ void global_write(int* x, long long at) { x[at + (int)threadIdx.x] = 1; }
extern "C" __global__ void global_add(int* x, long long at) { atomicAdd(x + at + (int)threadIdx.x, 1); }
extern "C" __global__ void global_exchange(int* out, int* x, long long at) { out[threadIdx.x] = atomicExch(x + at + (int)threadIdx.x, 1); }
extern "C" __global__ void exchange_sets(int* x) { atomicExch(x + threadIdx.x, 3); }
extern "C" __global__ void read_byte(char* out, const char* x, long long at) { out[threadIdx.x] = x[at + (int)threadIdx.x]; }
extern "C" __global__ void read_4(int* out, const char* x, long long at) { out[threadIdx.x] = *(const int*)(x + at + 4 * threadIdx.x); }
extern "C" __global__ void read_8(long long* out, const char* x, long long at) { out[threadIdx.x] = *(const long long*)(x + at + 8 * threadIdx.x); }
extern "C" __global__ void read_16(int4* out, const char* x, long long at) { out[threadIdx.x] = *(const int4*)(x + at + 16 * threadIdx.x); }
extern "C" __global__ void write_8(char* x, long long at) { *(long long*)(x + at + 8 * threadIdx.x) = 1; }
extern "C" __global__ void write_then_read(int* out, int* x) {
    ((volatile int*)x)[threadIdx.x] = 5;
    out[threadIdx.x] = ((volatile int*)x)[threadIdx.x];
}

// Shared memory, static and dynamic: every thread fills its element, then reads the one `at` further.
extern "C" __global__ void static_read(int* out, int at) {
    __shared__ int tile[64];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = tile[(int)threadIdx.x + at];
}
extern "C" __global__ void dynamic_read(int* out, int at) {
    extern __shared__ int dynamic[];
    dynamic[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = dynamic[(int)threadIdx.x + at];
}
extern "C" __global__ void shared_write(int* out, int at) {
    __shared__ int tile[64];
    ((volatile int*)tile)[(int)threadIdx.x + at] = 1;
    out[threadIdx.x] = at;
}
// The left neighbour by an address below the tile that the instruction's offset brings back into it.
extern "C" __global__ void shared_from_below(int* out) {
    __shared__ int tile[64];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    asm volatile("{ .reg .u32 a; sub.u32 a, %1, 4; ld.shared.u32 %0, [a+4]; }" : "=r"(out[threadIdx.x]) : "r"((unsigned)__cvta_generic_to_shared(tile + threadIdx.x)));
}
extern "C" __global__ void shared_wide(int4* out, int at) {
    __shared__ __align__(16) char tile[32 * 16 + 16];
    for (unsigned i = threadIdx.x; i < sizeof tile; i += blockDim.x) tile[i] = i;
    __syncthreads();
    out[threadIdx.x] = *(int4*)(tile + at + 16 * threadIdx.x);
}
// The shared element of a thread is written by the first `written` threads only.
extern "C" __global__ void shared_unwritten(int* out, int written) {
    __shared__ int tile[64];
    if ((int)threadIdx.x < written) tile[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}
// A pointer that is shared in some lanes, local and global in the others.
extern "C" __global__ void generic_read(int* out, const int* x, int at) {
    __shared__ int tile[32];
    int own[2] = {(int)threadIdx.x, at};
    tile[threadIdx.x] = threadIdx.x + 100;
    __syncthreads();
    const int* p = threadIdx.x % 3 == 0 ? tile + threadIdx.x : threadIdx.x % 3 == 1 ? x + threadIdx.x : own;
    out[threadIdx.x] = *(const volatile int*)(p + at);
}

// Local memory: `written` elements are filled, `at` is read.
extern "C" __global__ void local_read(int* out, int written, int at) {
    int own[8];
    for (int i = 0; i < written; i++) own[i] = i + threadIdx.x;
    out[threadIdx.x] = own[at];
}
extern "C" __global__ void local_write(int* out, int at) {
    volatile int own[8] = {};
    own[at] = 1;
    out[threadIdx.x] = own[threadIdx.x & 7];
}

// Parameters and constants.
extern "C" __global__ void parameter_read(int* out, const __grid_constant__ Numbers n, int at) { out[threadIdx.x] = n.v[at + threadIdx.x % 2]; }
extern "C" __global__ void parameter_write(int* out, const __grid_constant__ Numbers n, int at) {
    if (at == (int)threadIdx.x) asm volatile("st.u32 [%0], %1;" ::"l"(n.v + at), "r"(at) : "memory");
    out[threadIdx.x] = n.v[threadIdx.x % 4];
}
extern "C" __global__ void constant_read(int* out, int at) { out[threadIdx.x] = fixed[at + threadIdx.x % 2]; }
extern "C" __global__ void constant_write(int* out, int at) {
    if (at == (int)threadIdx.x) asm volatile("st.u32 [%0], %1;" ::"l"(fixed + at), "r"(at) : "memory");
    out[threadIdx.x] = fixed[threadIdx.x % 4];
}
extern "C" __global__ void constant_add(int at) {
    int old;
    if (at == (int)threadIdx.x) asm volatile("atom.add.u32 %0, [%1], %2;" : "=r"(old) : "l"(fixed + at), "r"(at) : "memory");
}

// What a kernel says itself.
extern "C" __global__ void traps(const int* x) { if (x[threadIdx.x] == 7) __trap(); }
extern "C" __global__ void asserts(const int* x) { assert(x[threadIdx.x] != 7); }
// Spins until x is set: forever, or not at all. With `meet`, all threads of the block spin together.
extern "C" __global__ void spins(const volatile int* x) { while (*x == 0); }
extern "C" __global__ void spins_at_barriers(const volatile int* x) { do __syncthreads(); while (*x == 0); }
