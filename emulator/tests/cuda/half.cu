// half: fp16 and bf16 arithmetic, scalar and in pairs, and the conversions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void half_arithmetic(__half* out, const __half* a, const __half* b) {
    int i = threadIdx.x;
    __half x = a[i], y = b[i];
    __half* o = out + 16 * i;
    o[0] = __hadd(x, y), o[1] = __hsub(x, y), o[2] = __hmul(x, y), o[3] = __hfma(x, y, x);
    o[4] = __hneg(x), o[5] = __habs(x), o[6] = __hmin(x, y), o[7] = __hmax_nan(x, y);
    o[8] = __hlt(x, y) ? x : y, o[9] = hexp2(x), o[10] = htanh(x), o[11] = hsqrt(x);
    o[12] = __float2half_rn(__half2float(x) * 2.0f), o[13] = __int2half_rn(i), o[14] = __hadd_sat(x, y);
    o[15] = __hdiv(x, y);
}
extern "C" __global__ void half2_arithmetic(__half2* out, const __half2* a, const __half2* b) {
    int i = threadIdx.x;
    __half2 x = a[i], y = b[i];
    out[4 * i] = __hfma2(x, y, x), out[4 * i + 1] = __hadd2(x, y), out[4 * i + 2] = __hmax2(x, y);
    out[4 * i + 3] = __hbge2(x, y) ? __hmul2(x, y) : h2sqrt(__hgt2(x, y));
}
extern "C" __global__ void bf16_arithmetic(__nv_bfloat16* out, const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat162* p) {
    int i = threadIdx.x;
    __nv_bfloat16 x = a[i], y = b[i];
    __nv_bfloat16* o = out + 8 * i;
    o[0] = __hadd(x, y), o[1] = __hmul(x, y), o[2] = __hfma(x, y, x), o[3] = __hmax(x, y), o[4] = __hneg(x);
    o[5] = __float2bfloat16(__bfloat162float(x) + 1.0f), o[6] = __hsub(x, y), o[7] = __habs(x);
    p[2 * i] = __hfma2(p[2 * i], __floats2bfloat162_rn(1.0f, 2.0f), __hmax2(p[2 * i], p[2 * i + 1]));
}
