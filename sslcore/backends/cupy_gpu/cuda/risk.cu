// What the risks sum over the views of each sample, and the part of their gradient that does not mix samples.
//
// Formula   sample_sums: sum_ia |z_ia - zbar_i|^2 and, if asked for, sum_iab <z_ia, z_ib>^2; z converted to double.
//           finish_gradient: gradient <- product + spread (z_ia - zbar_i) - outer sum_b z_ib <z_ib, z_ia>, where
//           product comes in as z_ia times a (k, k) matrix (cuBLAS) and may be overwritten; it is gradient itself if
//           that is double.
// Shapes    z and gradient (n, m, k) in C order, real; copy, of z, and product of the same shape, double; partial
//           (blocks, 2).  For z in double no copy is written: the argument is z again.
// Owner     A warp owns a sample.  With 2 to 4 views whose rows begin at multiples of 16 bytes a lane reads 16 bytes of
//           each view, and so on at every 32nd such place; it asks for 128 bytes or so before it needs the first, and
//           adds up its share of all products of views, which are exchanged at the end.  Otherwise it has every 32nd
//           component, and one product at a time is exchanged.  A block's warps add their sums in shared memory, and
//           nobody adds the blocks': the caller does, in a fixed order.
// Bound by  Memory: z is read once, and by finish_gradient a second time from the cache; otherwise m times and more,
//           from the cache after the first.  Copies and gradients are written once, products read once.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define LANES 32
#define WARPS 4
#define WIDE (16 / (int)sizeof(real))  // numbers that are read at once

__device__ inline double warp_sum(double value) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

__device__ inline double product_of(const real* x, const real* y, i64 k, int lane) {
    double total = 0;
    for (i64 c = lane; c < k; c += LANES) total += (double)x[c] * (double)y[c];
    return warp_sum(total);
}

// Runs of WIDE numbers, 16 bytes in their own type
__device__ inline void load(double (&x)[2], const double* from) {
    const double2 pair = *(const double2*)from;
    x[0] = pair.x;
    x[1] = pair.y;
}
__device__ inline void load(double (&x)[4], const double* from) {
    const double2 low = *(const double2*)from, high = *(const double2*)(from + 2);
    x[0] = low.x;
    x[1] = low.y;
    x[2] = high.x;
    x[3] = high.y;
}
__device__ inline void load(double (&x)[4], const float* from) {
    const float4 all = *(const float4*)from;
    x[0] = all.x;
    x[1] = all.y;
    x[2] = all.z;
    x[3] = all.w;
}
__device__ inline void store(double* to, const double (&x)[2]) { *(double2*)to = make_double2(x[0], x[1]); }
__device__ inline void store(double* to, const double (&x)[4]) {
    *(double2*)to = make_double2(x[0], x[1]);
    *(double2*)(to + 2) = make_double2(x[2], x[3]);
}
__device__ inline void store(float* to, const double (&x)[4]) {
    *(float4*)to = make_float4((float)x[0], (float)x[1], (float)x[2], (float)x[3]);
}

// Samples of m views: lane l has the runs at WIDE (l + 32 j) for all j.  It works on `batch` of them at a time: some
// `held` numbers are asked for before the first is needed.
template <int m, int held>
struct Samples {
    static constexpr int step = LANES * WIDE, batch = held / (m * WIDE) > 0 ? held / (m * WIDE) : 1;
    typedef double Runs[batch][m][WIDE];

    template <class T>
    static __device__ inline void fetch(Runs& x, const T* rows, int k, int first) {
#pragma unroll
        for (int u = 0; u < batch; ++u) {
            if (first + u * step < k) {
#pragma unroll
                for (int a = 0; a < m; ++a) load(x[u][a], rows + a * k + first + u * step);
            }
        }
    }

    static __device__ inline double mean(const double (&x)[m][WIDE], int v) {
        double total = 0;
#pragma unroll
        for (int a = 0; a < m; ++a) total += x[a][v];
        return total / (double)m;
    }

    // a lane's share of <z_a, z_b>, b <= a
    static __device__ inline void multiply(double (&dots)[m][m], const double (&x)[m][WIDE]) {
#pragma unroll
        for (int a = 0; a < m; ++a) {
#pragma unroll
            for (int b = 0; b <= a; ++b) {
#pragma unroll
                for (int v = 0; v < WIDE; ++v) dots[a][b] += x[a][v] * x[b][v];
            }
        }
    }

    static __device__ inline void exchange(double (&dots)[m][m]) {
#pragma unroll
        for (int a = 0; a < m; ++a) {
#pragma unroll
            for (int b = 0; b <= a; ++b) dots[a][b] = dots[b][a] = warp_sum(dots[a][b]);
        }
    }

    static __device__ inline void sum(const real* __restrict__ z, i64 n, int k, int products, double* copy,
                                      double& within, double& fourth) {
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
#pragma unroll 1
        for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
            double dots[m][m] = {};
#pragma unroll 1
            for (int first = lane * WIDE; first < k; first += batch * step) {
                Runs x;
                fetch(x, z + i * m * k, k, first);
#pragma unroll
                for (int u = 0; u < batch; ++u) {
                    if (first + u * step >= k) continue;
                    multiply(dots, x[u]);
#pragma unroll
                    for (int v = 0; v < WIDE; ++v) {
                        const double middle = mean(x[u], v);
#pragma unroll
                        for (int a = 0; a < m; ++a) within += (x[u][a][v] - middle) * (x[u][a][v] - middle);
                    }
                    if constexpr (sizeof(real) < sizeof(double)) {
#pragma unroll
                        for (int a = 0; a < m; ++a) store(copy + (i * m + a) * k + first + u * step, x[u][a]);
                    }
                }
            }
            if (!products) continue;
            exchange(dots);
#pragma unroll
            for (int a = 0; a < m; ++a) {
#pragma unroll
                for (int b = 0; b < m; ++b) fourth += dots[a][b] * dots[a][b];
            }
        }
    }

    static __device__ inline void finish(const real* __restrict__ z, const double* product, i64 n, int k, double spread,
                                         double outer, real* gradient) {
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
#pragma unroll 1
        for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
            const real* views = z + i * m * k;
            double dots[m][m] = {};
            if (outer != 0) {
#pragma unroll 1
                for (int first = lane * WIDE; first < k; first += batch * step) {
                    Runs x;
                    fetch(x, views, k, first);
#pragma unroll
                    for (int u = 0; u < batch; ++u)
                        if (first + u * step < k) multiply(dots, x[u]);
                }
                exchange(dots);
            }
#pragma unroll 1
            for (int first = lane * WIDE; first < k; first += batch * step) {
                Runs x, y;
                fetch(y, product + i * m * k, k, first);
                fetch(x, views, k, first);
#pragma unroll
                for (int u = 0; u < batch; ++u) {
                    if (first + u * step >= k) continue;
#pragma unroll
                    for (int v = 0; v < WIDE; ++v) {
                        const double middle = mean(x[u], v);
#pragma unroll
                        for (int a = 0; a < m; ++a) {
                            double mixed = 0;
#pragma unroll
                            for (int b = 0; b < m; ++b) mixed += dots[a][b] * x[u][b][v];
                            y[u][a][v] += spread * (x[u][a][v] - middle) - outer * mixed;
                        }
                    }
#pragma unroll
                    for (int a = 0; a < m; ++a) store(gradient + (i * m + a) * k + first + u * step, y[u][a]);
                }
            }
        }
    }
};

// The same for any number of views, which are read again and again
__device__ inline void sum_any(const real* z, i64 n, i64 m, i64 k, int products, double* copy, double& within,
                               double& fourth) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const real* views = z + i * m * k;
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += (double)views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const double value = (double)views[a * k + c];
                within += (value - mean) * (value - mean);
                if constexpr (sizeof(real) < sizeof(double)) copy[(i * m + a) * k + c] = value;
            }
        }
        if (!products) continue;
        for (i64 a = 0; a < m; ++a) {
            for (i64 b = 0; b <= a; ++b) {
                const double product = product_of(views + a * k, views + b * k, k, lane);
                fourth += (a == b ? 1.0 : 2.0) * product * product;
            }
        }
    }
}

__device__ inline void finish_any(const real* z, double* product, i64 n, i64 m, i64 k, double spread, double outer,
                                  real* gradient) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const real* views = z + i * m * k;
        double* rows = product + i * m * k;
        if (outer != 0) {
            for (i64 a = 0; a < m; ++a) {
                for (i64 b = 0; b < m; ++b) {
                    const double factor = outer * product_of(views + b * k, views + a * k, k, lane);
                    for (i64 c = lane; c < k; c += LANES) rows[a * k + c] -= factor * (double)views[b * k + c];
                }
            }
        }
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += (double)views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const i64 at = a * k + c;
                gradient[i * m * k + at] = (real)(rows[at] + spread * ((double)views[at] - mean));
            }
        }
    }
}

// Whether rows of z (of a sample of 4 views at most, and so indexed by int) begin at multiples of 16 bytes
__device__ inline bool wide(const void* z, const void* other, const void* third, i64 k) {
    const unsigned long long any = (unsigned long long)z | (unsigned long long)other | (unsigned long long)third;
    return any % 16 == 0 && k % WIDE == 0 && k < 1 << 28;
}

extern "C" __global__ void sample_sums(const real* z, i64 n, i64 m, i64 k, int products, double* copy,
                                       double* partial) {
    __shared__ double sums[WARPS][2];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    double within = 0, fourth = 0;
    const i64 known = wide(z, copy, copy, k) ? m : 0;
    if (known == 2) Samples<2, 16>::sum(z, n, (int)k, products, copy, within, fourth);
    else if (known == 3) Samples<3, 16>::sum(z, n, (int)k, products, copy, within, fourth);
    else if (known == 4) Samples<4, 16>::sum(z, n, (int)k, products, copy, within, fourth);
    else sum_any(z, n, m, k, products, copy, within, fourth);
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

extern "C" __global__ void finish_gradient(const real* z, double* product, i64 n, i64 m, i64 k, double spread,
                                           double outer, real* gradient) {
    const i64 known = wide(z, product, gradient, k) ? m : 0;
    if (known == 2) Samples<2, 8>::finish(z, product, n, (int)k, spread, outer, gradient);
    else if (known == 3) Samples<3, 8>::finish(z, product, n, (int)k, spread, outer, gradient);
    else if (known == 4) Samples<4, 8>::finish(z, product, n, (int)k, spread, outer, gradient);
    else finish_any(z, product, n, m, k, spread, outer, gradient);
}
