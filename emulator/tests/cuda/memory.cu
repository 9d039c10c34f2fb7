// memory: local arrays, constant and global variables, struct parameters, templates and vector accesses.
struct Sizes { int height, width; long long stride; float scale[3]; };
__constant__ float coefficients[4] = {1.0f, -2.5f, 3.25f, 0.5f};
__constant__ Sizes sizes;
__device__ int counter = 5;
__device__ const unsigned char table[5] = {1, 2, 3, 250, 5};
__device__ int* pointer_to_counter = &counter;

extern "C" __global__ void local_array(int* out, const int* order) {
    int stack[32];
    for (int i = 0; i < 32; i++) stack[i] = i * threadIdx.x;
    for (int i = 0; i < 16; i++) { int k = order[i] & 31; int t = stack[k]; stack[k] = stack[31 - i]; stack[31 - i] = t; }
    int sum = 0;
    for (int i = 0; i < 32; i++) sum = sum * 3 + stack[order[i] & 31];
    out[threadIdx.x] = sum;
}
extern "C" __global__ void constants(float* out) {
    int i = threadIdx.x;
    out[i] = coefficients[i & 3] * sizes.scale[i % 3] + table[i % 5] + (float)atomicAdd(pointer_to_counter, 1);
}
template <int N, typename T>
__device__ T weighted(const T* x) { T s = 0; for (int i = 0; i < N; i++) s += x[i] * T(i); return s; }
extern "C" __global__ void struct_param(float* out, Sizes s, const float* x) {
    out[threadIdx.x] = weighted<3>(s.scale) * s.stride + weighted<5>(x) + s.scale[threadIdx.x % 3] + s.width - s.height;
}
template <typename T> __global__ void scale_all(T* x, T by) { x[threadIdx.x] *= by; }
template __global__ void scale_all<float>(float*, float);
template __global__ void scale_all<double>(double*, double);
extern "C" __global__ void vectors(int2* out, const uint4* a, const ushort4* b, const uchar4* c, const longlong2* d) {
    int i = threadIdx.x;
    uint4 x = a[i]; ushort4 y = b[i]; uchar4 z = c[i]; longlong2 w = d[i];
    asm volatile("prefetch.global.L2 [%0];" ::"l"(a + i + 1));
    out[i] = make_int2(x.x + y.y + z.z + (int)w.y, x.w ^ y.x ^ z.w ^ (int)__ldcg(&d[i].x));
    __stcs(&out[i + 32].x, __ldcs(&out[i].y) + clock64() + (int)__ldlu(&out[i].x));
}
