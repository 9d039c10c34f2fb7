// vector_add: out[i] = a[i] + b[i], scalar and in float4 pieces.
// Mapping: grid-stride, one element (one float4) a thread.
extern "C" __global__ void vector_add(float* out, const float* a, const float* b, unsigned len) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < len; i += gridDim.x * blockDim.x) out[i] = a[i] + b[i];
}

extern "C" __global__ void __launch_bounds__(256, 2)
vector_add4(float4* __restrict__ out, const float4* __restrict__ a, const float4* __restrict__ b, unsigned len4) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len4) return;
    float4 x = a[i], y = b[i];
    out[i] = make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}
