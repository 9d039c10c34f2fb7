// integer: integer and bit operations of every width.
extern "C" __global__ void integers(int* out, const int* a, const unsigned* b, long long* wide, short* s, unsigned char* c) {
    int i = threadIdx.x, x = a[i], *o = out + 40 * i;
    unsigned y = b[i];
    long long l = wide[4 * i], m = wide[4 * i + 1];
    o[0] = x + (int)y, o[1] = x * x, o[2] = x / (int)y, o[3] = x % (int)y, o[4] = y / 7, o[5] = y % b[i + 1];
    o[6] = __mulhi(x, x), o[7] = __umulhi(y, y), o[8] = __mul24(x, x), o[9] = __umul24(y, y), o[10] = __sad(x, a[i + 1], y);
    o[11] = min(x, (int)y), o[12] = max(y, 9u), o[13] = abs(x), o[14] = -x, o[15] = ~x;
    o[16] = x & y, o[17] = x | y, o[18] = x ^ y, o[19] = x << (y & 31), o[20] = x >> 3, o[21] = y >> 3;
    o[22] = __funnelshift_l(x, y, 5), o[23] = __funnelshift_r(x, y, y), o[24] = __popc(y), o[25] = __clz(y), o[26] = __ffs(y);
    o[27] = __brev(y), o[28] = __byte_perm(x, y, 0x5410), o[29] = __dp4a(x, (int)y, 3), o[30] = x > (int)y ? x : 4;
    o[31] = (y >> 5) & 0x3f, o[32] = __popcll(l), o[33] = __clzll(l), o[34] = (x & y) ^ (x | a[i + 2]), o[35] = __usad(y, y, y);
    o[36] = __dp2a_lo(x, (int)y, 3), o[37] = __hadd(x, x), o[38] = __vadd2(x, y), o[39] = __isShared(o);
    wide[4 * i] = l * m, wide[4 * i + 1] = l / m, wide[4 * i + 2] = l % m, wide[4 * i + 3] = (long long)x * m + __mul64hi(l, m);
    s[i] = (short)(s[i] * 3 + (short)x), c[i] = (unsigned char)(c[i] + (signed char)x);
}
// Carries through inline assembly, and instructions that only inline assembly reaches.
extern "C" __global__ void carries(unsigned* out, const unsigned* a) {
    unsigned lo, hi, top;
    asm("{\n.reg .u32 t;\nadd.cc.u32 t, %3, %4;\nmov.u32 %0, t;\naddc.cc.u32 %1, %5, %6;\naddc.u32 %2, 0, 0;\n}"
        : "=r"(lo), "=r"(hi), "=r"(top) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]));
    out[0] = lo, out[1] = hi, out[2] = top;
    asm("sub.cc.u32 %0, %1, %2; subc.u32 %0, %0, 0;" : "=r"(lo) : "r"(a[4]), "r"(a[5]));
    asm("mad.lo.cc.u32 %0, %1, %2, %0; madc.hi.u32 %0, %1, %2, 0;" : "+r"(lo) : "r"(a[6]), "r"(a[7]));
    asm("bfe.u32 %0, %1, 4, 8; bfi.b32 %0, %1, %0, 8, 4; bfind.u32 %0, %0;" : "+r"(hi) : "r"(a[8]));
    asm("lop3.b32 %0, %0, %1, %2, 0x96; prmt.b32.f4e %0, %0, %1, 2;" : "+r"(top) : "r"(a[9]), "r"(a[10]));
    asm volatile("{ .reg .pred p; setp.lt.u32 p, %1, 4; @!p bra DONE; slct.s32.s32 %0, 1, %1, %1; DONE: }" : "+r"(top) : "r"(a[11]));
    out[3] = lo, out[4] = hi, out[5] = top;
    __nanosleep(20);
}
