// conv3x3: y[h,w] = sum over a 3x3 window of x and 16 input channels, zero padding; one 8x8 tile a block.
// x [H, W, 16], weights [3, 3, 16, 16], y [H, W, 16]; a thread computes 4 output channels of one pixel.
extern "C" __global__ void __launch_bounds__(256) conv3x3(float* __restrict__ y, const float* __restrict__ x,
                                                          const float* __restrict__ w, int height, int width) {
    __shared__ float tile[10][10][16];
    int h0 = blockIdx.y * 8, w0 = blockIdx.x * 8, t = threadIdx.x;
    for (int i = t; i < 1600; i += 256) {
        int c = i % 16, col = i / 16 % 10, row = i / 160, hh = h0 + row - 1, ww = w0 + col - 1;
        bool inside = hh >= 0 && hh < height && ww >= 0 && ww < width;
        tile[row][col][c] = inside ? x[(hh * width + ww) * 16 + c] : 0.0f;
    }
    __syncthreads();
    int group = t % 4, px = t / 4 % 8, py = t / 32;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int kh = 0; kh < 3; kh++)
        for (int kw = 0; kw < 3; kw++)
#pragma unroll
            for (int c = 0; c < 16; c++) {
                float v = tile[py + kh][px + kw][c];
                float4 q = __ldg((const float4*)(w + ((kh * 3 + kw) * 16 + c) * 16 + group * 4));
                sum.x = fmaf(v, q.x, sum.x), sum.y = fmaf(v, q.y, sum.y);
                sum.z = fmaf(v, q.z, sum.z), sum.w = fmaf(v, q.w, sum.w);
            }
    if (h0 + py < height && w0 + px < width) ((float4*)y)[((h0 + py) * width + w0 + px) * 4 + group] = sum;
}
