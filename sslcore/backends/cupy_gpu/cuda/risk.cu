// What the risks sum over the views of each sample, and the part of their gradient that does not mix samples.
//
// Formula   sample_sums: sum_ia |z_ia - zbar_i|^2 and, if asked for, sum_iab <z_ia, z_ib>^2.
//           finish_gradient: product <- product + spread (z_ia - zbar_i) - outer sum_b z_ib <z_ib, z_ia>, where product
//           comes in as z_ia times a (k, k) matrix (cuBLAS), and is written to gradient in its type.
// Shapes    z (n, m, k) float64, C order: blocks of the data, converted; partial (blocks, 2); product (n, m, k) float64.
// Owner     A warp owns a sample; a lane every 32nd component.  Products of views are added up by shuffles, so that all
//           lanes know them; a block's warps add their sums in shared memory, and nobody adds the blocks': the caller
//           does, in a fixed order.
// Bound by  Memory: z is read m times at most, from the cache after the first; gradients are read and written once.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define LANES 32
#define WARPS 4

__device__ inline double warp_sum(double value) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

__device__ inline double product_of(const double* x, const double* y, i64 k, int lane) {
    double total = 0;
    for (i64 c = lane; c < k; c += LANES) total += x[c] * y[c];
    return warp_sum(total);
}

extern "C" __global__ void sample_sums(const double* z, i64 n, i64 m, i64 k, int products, double* partial) {
    __shared__ double sums[WARPS][2];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    double within = 0, fourth = 0;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const double* views = z + i * m * k;
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const double difference = views[a * k + c] - mean;
                within += difference * difference;
            }
        }
        if (products) {
            for (i64 a = 0; a < m; ++a) {
                for (i64 b = 0; b <= a; ++b) {
                    const double product = product_of(views + a * k, views + b * k, k, lane);
                    fourth += (a == b ? 1.0 : 2.0) * product * product;
                }
            }
        }
    }
    within = warp_sum(within);
    if (lane == 0) {
        sums[warp][0] = within;
        sums[warp][1] = fourth;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        double total = 0;
        for (int w = 0; w < WARPS; ++w) total += sums[w][threadIdx.x];
        partial[2 * (i64)blockIdx.x + threadIdx.x] = total;
    }
}

extern "C" __global__ void finish_gradient(const double* z, double* product, i64 n, i64 m, i64 k, double spread, double outer,
                                real* gradient) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const double* views = z + i * m * k;
        double* rows = product + i * m * k;
        if (outer != 0) {
            for (i64 a = 0; a < m; ++a) {
                for (i64 b = 0; b < m; ++b) {
                    const double factor = outer * product_of(views + b * k, views + a * k, k, lane);
                    for (i64 c = lane; c < k; c += LANES) rows[a * k + c] -= factor * views[b * k + c];
                }
            }
        }
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const i64 at = a * k + c;
                gradient[i * m * k + at] = (real)(rows[at] + spread * (views[at] - mean));
            }
        }
    }
}
