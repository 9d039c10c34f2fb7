// math: the mathematical functions, in single and double precision, and the rounding modes.
extern "C" __global__ void single_math(float* out, const float* a) {
    int i = threadIdx.x;
    float x = a[i], y = a[i + 1], *o = out + 40 * i;
    o[0] = expf(x), o[1] = logf(x), o[2] = sinf(x), o[3] = cosf(x), o[4] = powf(x, y), o[5] = sqrtf(x), o[6] = rsqrtf(x);
    o[7] = tanhf(x), o[8] = x / y, o[9] = __fdividef(x, y), o[10] = __expf(x), o[11] = __logf(x), o[12] = __sinf(x);
    o[13] = fminf(x, y), o[14] = fmaxf(x, y), o[15] = fabsf(x), o[16] = floorf(x), o[17] = ceilf(x), o[18] = truncf(x);
    o[19] = rintf(x), o[20] = copysignf(x, y), o[21] = fmodf(x, y), o[22] = erff(x), o[23] = 1.0f / x, o[24] = __frcp_rn(x);
    o[25] = __fadd_rz(x, y), o[26] = __fmul_ru(x, y), o[27] = __fmaf_rd(x, y, x), o[28] = __fsqrt_rn(x), o[29] = __saturatef(x);
    o[30] = isnan(x) ? 1 : 2, o[31] = isinf(x) ? 3 : 4, o[32] = (float)(int)x, o[33] = __float2uint_rn(y), o[34] = lrintf(x);
    o[35] = __cosf(x), o[36] = exp2f(x), o[37] = log2f(x), o[38] = roundf(x), o[39] = __uint_as_float(__float_as_uint(x) ^ 1);
}
extern "C" __global__ void double_math(double* out, const double* a, long long* n) {
    int i = threadIdx.x;
    double x = a[i], y = a[i + 1], *o = out + 16 * i;
    o[0] = exp(x), o[1] = log(x), o[2] = sin(x), o[3] = sqrt(x), o[4] = x / y, o[5] = fma(x, y, x), o[6] = fmin(x, y);
    o[7] = floor(x), o[8] = (double)(float)x, o[9] = (double)n[i], o[10] = 1.0 / x, o[11] = rsqrt(x), o[12] = fabs(x);
    o[13] = pow(x, y), o[14] = __dadd_ru(x, y), o[15] = x < y ? -x : y;
    n[i] = (long long)x + (unsigned long long)y;
}
