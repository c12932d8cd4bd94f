// Least-squares probes on growing prefixes of draws, and their errors on test points.
//
// Formula   w = (S_s + s diag(penalty))^-1 B_s, S_s and B_s the sums of z z^T and z y^T over the first s points of a
//           draw; squared: mean over test points of |x w - target|^2; zero_one: mean of max_c target_c less the target
//           of the class predicted.  NaN where a pivot of the Cholesky factor lost more than `tolerance` of itself.
// Shapes    z (draws, n, k), y (draws, n, q), sizes (count,), test (t, k), target (t, q) in C order, double;
//           work (draws, 2 k k + 2 k q): S, its factor, B and w of each draw; squared and zero_one (draws, count).
// Owner     A block of THREADS owns a draw.  A thread owns entries of S and B while points are added, columns of B
//           while triangles are solved, and every THREADS-th test point.
// Bound by  Arithmetic: t k q products a prefix; the test points come from the cache.

#define THREADS 128
#define LANES 32
#define WARPS (THREADS / LANES)

typedef long long i64;

struct Probe {
    double *second, *factor, *cross, *w;
    int k, q;
};

__device__ inline void add_points(const Probe& p, const double* z, const double* y, int start, int stop) {
    for (int e = threadIdx.x; e < p.k * (p.k + p.q); e += THREADS) {
        const int a = e / (p.k + p.q), b = e % (p.k + p.q);
        if (b < p.k && b > a) continue;
        double* entry = b < p.k ? p.second + a * p.k + b : p.cross + a * p.q + (b - p.k);
        double total = *entry;
        for (i64 i = start; i < stop; ++i)
            total += z[i * p.k + a] * (b < p.k ? z[i * p.k + b] : y[i * p.q + (b - p.k)]);
        *entry = total;
    }
    __syncthreads();
}

// Rows of the factor from the first to the last; every thread sees whether all pivots are good.
__device__ inline bool factorize(const Probe& p, const double* penalty, double s, double tolerance) {
    for (int j = 0; j < p.k; ++j) {
        const double diagonal = p.second[j * p.k + j] + s * penalty[j];
        double pivot = diagonal;
        for (int l = 0; l < j; ++l) pivot -= p.factor[j * p.k + l] * p.factor[j * p.k + l];
        const bool zero = diagonal == 0;
        if (!zero && !(pivot > tolerance * diagonal)) return false;
        const double inverse = zero ? 0 : 1 / sqrt(pivot);
        if (threadIdx.x == 0) p.factor[j * p.k + j] = inverse;
        for (int i = j + 1 + threadIdx.x; i < p.k; i += THREADS) {
            double value = p.second[i * p.k + j];
            for (int l = 0; l < j; ++l) value -= p.factor[i * p.k + l] * p.factor[j * p.k + l];
            p.factor[i * p.k + j] = value * inverse;
        }
        __syncthreads();
    }
    return true;
}

__device__ inline void solve(const Probe& p) {
    for (int c = threadIdx.x; c < p.q; c += THREADS) {
        for (int i = 0; i < p.k; ++i) {
            double value = p.cross[i * p.q + c];
            for (int l = 0; l < i; ++l) value -= p.factor[i * p.k + l] * p.w[l * p.q + c];
            p.w[i * p.q + c] = value * p.factor[i * p.k + i];
        }
        for (int i = p.k - 1; i >= 0; --i) {
            double value = p.w[i * p.q + c];
            for (int l = i + 1; l < p.k; ++l) value -= p.factor[l * p.k + i] * p.w[l * p.q + c];
            p.w[i * p.q + c] = value * p.factor[i * p.k + i];
        }
    }
    __syncthreads();
}

__device__ inline void errors(const Probe& p, const double* test, const double* target, i64 t, double& squared,
                              double& zero_one) {
    squared = zero_one = 0;
    for (i64 i = threadIdx.x; i < t; i += THREADS) {
        double best = 0, chosen = 0, highest = 0;
        for (int c = 0; c < p.q; ++c) {
            double prediction = 0;
            for (int j = 0; j < p.k; ++j) prediction += test[i * p.k + j] * p.w[j * p.q + c];
            const double value = target[i * p.q + c];
            squared += (prediction - value) * (prediction - value);
            if (c == 0 || prediction > best) {
                best = prediction;
                chosen = value;
            }
            highest = c == 0 ? value : fmax(highest, value);
        }
        zero_one += highest - chosen;
    }
}

__device__ inline double block_sum(double value, double* shared) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    if (threadIdx.x % LANES == 0) shared[threadIdx.x / LANES] = value;
    __syncthreads();
    double total = 0;
    for (int w = 0; w < WARPS; ++w) total += shared[w];
    __syncthreads();
    return total;
}

extern "C" __global__ void prefix_probes(const double* z, const double* y, const i64* sizes, const double* test,
                                         const double* target, const double* penalty, double tolerance, i64 n, i64 t,
                                         int k, int q, int count, double* work, double* squared, double* zero_one) {
    __shared__ double sums[WARPS];
    const i64 draw = blockIdx.x;
    double* own = work + draw * 2 * ((i64)k * k + (i64)k * q);
    const Probe p = {own, own + k * k, own + 2 * k * k, own + 2 * k * k + k * q, k, q};
    for (int e = threadIdx.x; e < 2 * k * (k + q); e += THREADS) own[e] = 0;
    __syncthreads();
    int start = 0;
    for (int s = 0; s < count; ++s) {
        const int stop = (int)sizes[s];
        add_points(p, z + draw * n * k, y + draw * n * q, start, stop);
        start = stop;
        double a = nan(""), b = nan("");
        if (factorize(p, penalty, (double)stop, tolerance)) {
            solve(p);
            errors(p, test, target, t, a, b);
            a = block_sum(a, sums) / (double)t;
            b = block_sum(b, sums) / (double)t;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            squared[draw * count + s] = a;
            zero_one[draw * count + s] = b;
        }
    }
}
