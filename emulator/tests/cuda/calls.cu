// calls: device functions that are not inlined, with scalar and struct parameters and results.
struct Pair { float a; double b; };
__device__ __noinline__ float scaled(float x, float by) { return x * by + 1.0f; }
__device__ __noinline__ Pair swapped(Pair p) { return {(float)p.b, scaled(p.a, 2.0f)}; }
extern "C" __global__ void plain_call(float* out, float by) { out[threadIdx.x] = scaled(out[threadIdx.x], by); }
extern "C" __global__ void struct_call(Pair* pairs) { pairs[threadIdx.x] = swapped(pairs[threadIdx.x]); }
