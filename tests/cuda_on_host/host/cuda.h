// CUDA's device language for g++: what our kernels use of it, and no more.
//
// A kernel is compiled as it stands; `compiler.py` only rewrites the declarations of __shared__ variables (into
// references to memory that the scheduler hands out, poisoned, with gaps between) and appends a table of the kernels.
// The threads of a block are fibers on one thread of the host (scheduler.cpp); the checking build adds checker.cpp.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

namespace cuda_host {

struct Index {
    unsigned x, y, z;
};

extern Index thread_index, block_index, block_shape, grid_shape;

enum Exchange : int { SHUFFLE, BALLOT, ADD, MIN, MAX, AND, OR, XOR, SYNC, MATCH };

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
int barrier(int site, int predicate);  // how many threads of the block hand over a predicate that is not 0
// value of another lane of the mask, or a combination of those of all
uint64_t exchange(int site, Exchange kind, unsigned mask, uint64_t value, int source, bool is_signed);
int lane();

struct SharedVariable {  // one for each __shared__ declaration and instance of its template
    const char* name;
    uint64_t size, alignment;
    unsigned element;
    uint64_t block = 0;  // serial number of the block for which `address` holds
    void* address = nullptr;
};

void* shared_variable(SharedVariable& variable);
void* dynamic_shared();
void note_atomic(void* address, unsigned size);  // does nothing but in the checking build

template <class T, class U>
inline T bits(U value) {
    static_assert(sizeof(T) == sizeof(U), "a cast of bits keeps their number");
    T result;
    __builtin_memcpy(&result, &value, sizeof(T));
    return result;
}

template <class T>
inline uint64_t pack(T value) {
    static_assert(std::is_arithmetic<T>::value && sizeof(T) >= 4, "shuffles exist for 4 and 8 bytes");
    if constexpr (sizeof(T) == 8) return bits<uint64_t>(value);
    else return bits<uint32_t>(value);
}

template <class T>
inline T unpack(uint64_t value) {
    if constexpr (sizeof(T) == 8) return bits<T>(value);
    else return bits<T>(uint32_t(value));
}

template <class T>
inline T shuffle(int site, unsigned mask, T value, int source) {
    return unpack<T>(exchange(site, SHUFFLE, mask, pack(value), source, false));
}

inline int width_of(int site, int width) {
    if (width < 1 || width > 32 || (width & (width - 1))) fail("line %d: the width of a shuffle is %d", site >> 10, width);
    return width;
}

template <class T>
T atomic(T* address, T operand, T (*combine)(T, T));

}  // namespace cuda_host

// ---------------------------------------------------------------- words of the language
#define __global__ __attribute__((noinline, visibility("default")))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __CUDA_ARCH__ 800
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define CUDA_ON_HOST 1

#define threadIdx (cuda_host::thread_index)
#define blockIdx (cuda_host::block_index)
#define blockDim (cuda_host::block_shape)
#define gridDim (cuda_host::grid_shape)
constexpr int warpSize = 32;

// a place in the source: two on one line differ, and the line can be read off
#define CUDA_HOST_SITE ((__LINE__ << 10) | (__COUNTER__ & 1023))

#define __syncthreads() ((void)cuda_host::barrier(CUDA_HOST_SITE, 0))
#define __syncthreads_count(p) (cuda_host::barrier(CUDA_HOST_SITE, (p) != 0))
#define __syncthreads_or(p) (cuda_host::barrier(CUDA_HOST_SITE, (p) != 0) != 0)
#define __syncthreads_and(p) (cuda_host::barrier(CUDA_HOST_SITE, (p) == 0) == 0)
#define CUDA_HOST_FIRST(first, ...) first
#define __syncwarp(...) \
    ((void)cuda_host::exchange(CUDA_HOST_SITE, cuda_host::SYNC, CUDA_HOST_FIRST(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), 0, 0, false))

namespace cuda_host {

template <class T>
inline T shuffle_index(int site, unsigned mask, T value, int source, int width = 32) {
    width_of(site, width);
    return shuffle(site, mask, value, (lane() & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
inline T shuffle_up(int site, unsigned mask, T value, unsigned delta, int width = 32) {
    width_of(site, width);
    const int source = lane() - int(delta);
    return shuffle(site, mask, value, source < (lane() & ~(width - 1)) ? lane() : source);
}
template <class T>
inline T shuffle_down(int site, unsigned mask, T value, unsigned delta, int width = 32) {
    width_of(site, width);
    const int source = lane() + int(delta);
    return shuffle(site, mask, value, source > (lane() | (width - 1)) ? lane() : source);
}
template <class T>
inline T shuffle_xor(int site, unsigned mask, T value, int flipped, int width = 32) {
    width_of(site, width);
    const int source = lane() ^ flipped;
    return shuffle(site, mask, value, source > (lane() | (width - 1)) ? lane() : source);
}
template <class T>
inline T reduce(int site, Exchange kind, unsigned mask, T value) {
    static_assert(std::is_integral<T>::value && sizeof(T) == 4, "warps reduce integers of 4 bytes");
    return unpack<T>(exchange(site, kind, mask, pack(value), 0, std::is_signed<T>::value));
}

}  // namespace cuda_host

#define __shfl_sync(...) cuda_host::shuffle_index(CUDA_HOST_SITE, __VA_ARGS__)
#define __shfl_up_sync(...) cuda_host::shuffle_up(CUDA_HOST_SITE, __VA_ARGS__)
#define __shfl_down_sync(...) cuda_host::shuffle_down(CUDA_HOST_SITE, __VA_ARGS__)
#define __shfl_xor_sync(...) cuda_host::shuffle_xor(CUDA_HOST_SITE, __VA_ARGS__)
#define __ballot_sync(mask, p) (unsigned(cuda_host::exchange(CUDA_HOST_SITE, cuda_host::BALLOT, mask, (p) != 0, 0, false)))
#define __any_sync(mask, p) (__ballot_sync(mask, p) != 0)
#define __all_sync(mask, p) (__ballot_sync(mask, (p) == 0) == 0)
#define __match_any_sync(mask, v) \
    (unsigned(cuda_host::exchange(CUDA_HOST_SITE, cuda_host::MATCH, mask, cuda_host::pack(v), 0, false)))
#define __reduce_add_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::ADD, mask, v)
#define __reduce_min_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::MIN, mask, v)
#define __reduce_max_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::MAX, mask, v)
#define __reduce_and_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::AND, mask, v)
#define __reduce_or_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::OR, mask, v)
#define __reduce_xor_sync(mask, v) cuda_host::reduce(CUDA_HOST_SITE, cuda_host::XOR, mask, v)
#define __activemask() \
    static_assert(false, "__activemask says which lanes happen to run together: pass the mask that is meant")

inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { cuda_host::fail("the kernel called __trap()"); }
#define __builtin_assume(condition) ((void)0)

// ---------------------------------------------------------------- types
typedef cuda_host::Index uint3;
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define CUDA_HOST_VECTORS(type, name)                                                       \
    struct __attribute__((aligned(2 * sizeof(type)))) name##2 {                             \
        type x, y;                                                                          \
    };                                                                                      \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }
#define CUDA_HOST_VECTORS4(type, name)                                                      \
    CUDA_HOST_VECTORS(type, name)                                                           \
    struct __attribute__((aligned(4 * sizeof(type)))) name##4 {                             \
        type x, y, z, w;                                                                    \
    };                                                                                      \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUDA_HOST_VECTORS4(signed char, char)
CUDA_HOST_VECTORS4(unsigned char, uchar)
CUDA_HOST_VECTORS4(int, int)
CUDA_HOST_VECTORS4(unsigned, uint)
CUDA_HOST_VECTORS4(float, float)
CUDA_HOST_VECTORS(long long, longlong)
CUDA_HOST_VECTORS(unsigned long long, ulonglong)
CUDA_HOST_VECTORS(double, double)
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

// ---------------------------------------------------------------- atomic operations
namespace cuda_host {
template <class T> inline T sum(T a, T b) { return a + b; }
template <> inline int sum(int a, int b) { return int(unsigned(a) + unsigned(b)); }
template <class T> inline T least(T a, T b) { return b < a ? b : a; }
template <class T> inline T greatest(T a, T b) { return a < b ? b : a; }
template <class T> inline T second(T, T b) { return b; }
template <class T> inline T both(T a, T b) { return a & b; }
template <class T> inline T either(T a, T b) { return a | b; }
template <class T> inline T difference(T a, T b) { return a ^ b; }
template <class T> struct Same { typedef T type; };
template <class T> using same = typename Same<T>::type;  // no deduction from this argument
template <class T, class... Allowed>
using only = std::enable_if_t<(std::is_same<T, Allowed>::value || ...), T>;
}  // namespace cuda_host

template <class T>
inline cuda_host::only<T, int, unsigned, unsigned long long, float, double> atomicAdd(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::sum<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned> atomicSub(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, T(0u - unsigned(v)), cuda_host::sum<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, long long, unsigned long long> atomicMin(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::least<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, long long, unsigned long long> atomicMax(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::greatest<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, unsigned long long, float> atomicExch(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::second<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, unsigned long long> atomicAnd(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::both<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, unsigned long long> atomicOr(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::either<T>);
}
template <class T>
inline cuda_host::only<T, int, unsigned, unsigned long long> atomicXor(T* p, cuda_host::same<T> v) {
    return cuda_host::atomic<T>(p, v, cuda_host::difference<T>);
}
int atomicCAS(int* p, int expected, int value);
unsigned atomicCAS(unsigned* p, unsigned expected, unsigned value);
unsigned long long atomicCAS(unsigned long long* p, unsigned long long expected, unsigned long long value);

// ---------------------------------------------------------------- loads, bits, integers
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldca(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, cuda_host::same<T> value) { *p = value; }
template <class T> inline void __stcg(T* p, cuda_host::same<T> value) { *p = value; }

inline int __float_as_int(float x) { return cuda_host::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_host::bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_host::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_host::bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_host::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_host::bits<double>(x); }
inline int __double2hiint(double x) { return int(cuda_host::bits<uint64_t>(x) >> 32); }
inline int __double2loint(double x) { return int(cuda_host::bits<uint64_t>(x)); }
inline double __hiloint2double(int high, int low) {
    return cuda_host::bits<double>(uint64_t(unsigned(high)) << 32 | unsigned(low));
}
inline int __float2int_rn(float x) { return int(nearbyintf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __double2int_rn(double x) { return int(nearbyint(x)); }
inline int __double2int_rz(double x) { return int(x); }
inline int __double2int_rd(double x) { return int(floor(x)); }
inline long long __double2ll_rn(double x) { return (long long)nearbyint(x); }
inline float __double2float_rn(double x) { return float(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline double __int2double_rn(int x) { return double(x); }
inline double __uint2double_rn(unsigned x) { return double(x); }

inline int __mulhi(int a, int b) { return int((int64_t(a) * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)(((__int128)a * b) >> 64); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned result = 0;
    for (int i = 0; i < 32; ++i) result |= ((x >> i) & 1u) << (31 - i);
    return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned((uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}

template <class A, class B>
inline std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value, std::common_type_t<A, B>> min(A a, B b) {
    typedef std::common_type_t<A, B> C;
    if constexpr (std::is_floating_point<C>::value) return std::fmin(C(a), C(b));
    else return C(b) < C(a) ? C(b) : C(a);
}
template <class A, class B>
inline std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value, std::common_type_t<A, B>> max(A a, B b) {
    typedef std::common_type_t<A, B> C;
    if constexpr (std::is_floating_point<C>::value) return std::fmax(C(a), C(b));
    else return C(a) < C(b) ? C(b) : C(a);
}

// ---------------------------------------------------------------- arithmetic of reals
// <cmath> has overloads for float in namespace std only; CUDA has them globally
using std::abs; using std::acos; using std::asin; using std::atan; using std::atan2; using std::cbrt; using std::ceil;
using std::copysign; using std::cos; using std::cosh; using std::erf; using std::erfc; using std::exp; using std::exp2;
using std::expm1; using std::fabs; using std::floor; using std::fma; using std::fmax; using std::fmin; using std::fmod;
using std::frexp; using std::hypot; using std::ilogb; using std::isfinite; using std::isinf; using std::isnan;
using std::ldexp; using std::lgamma; using std::log; using std::log10; using std::log1p; using std::log2; using std::nearbyint;
using std::pow; using std::rint; using std::round; using std::scalbn; using std::signbit; using std::sin; using std::sinh;
using std::sqrt; using std::tan; using std::tanh; using std::tgamma; using std::trunc;

inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rcbrt(double x) { return 1.0 / std::cbrt(x); }
inline float rcbrtf(float x) { return 1.0f / std::cbrt(x); }
inline double sinpi(double x) { return std::sin(M_PI * std::fmod(x, 2.0)); }
inline double cospi(double x) { return std::cos(M_PI * std::fmod(x, 2.0)); }
inline float sinpif(float x) { return float(sinpi(double(x))); }
inline float cospif(float x) { return float(cospi(double(x))); }
inline float sinpi(float x) { return sinpif(x); }
inline float cospi(float x) { return cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline void sincospi(float x, float* s, float* c) { sincospif(x, s, c); }
inline void sincos(float x, float* s, float* c) { *s = std::sin(x), *c = std::cos(x); }

// the fast functions of CUDA, whose errors are not reproduced
inline float __expf(float x) { return std::exp(x); }
inline float __exp10f(float x) { return std::pow(10.0f, x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// never contracted into fused operations, on the device and here (-ffp-contract=off)
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frsqrt_rn(float a) { return float(1.0 / std::sqrt(double(a))); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __drcp_rn(double a) { return 1.0 / a; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }

// ---------------------------------------------------------------- the table of kernels
namespace cuda_host {

template <class T>
struct Type {  // a structure by value, or what a pointer of any type points to
    static constexpr const char* code = std::is_void<T>::value ? "any" : "struct";
};
template <class T>
constexpr unsigned size_of() {
    if constexpr (std::is_void<T>::value) return 1;
    else return sizeof(T);
}
template <class T>
constexpr unsigned alignment_of() {
    if constexpr (std::is_void<T>::value) return 1;
    else return alignof(T);
}
#define CUDA_HOST_CODE(type, text)               \
    template <>                                  \
    struct Type<type> {                          \
        static constexpr const char* code = text; \
    };
CUDA_HOST_CODE(bool, "b1") CUDA_HOST_CODE(char, "byte") CUDA_HOST_CODE(signed char, "i1") CUDA_HOST_CODE(unsigned char, "u1")
CUDA_HOST_CODE(short, "i2") CUDA_HOST_CODE(unsigned short, "u2") CUDA_HOST_CODE(int, "i4") CUDA_HOST_CODE(unsigned, "u4")
CUDA_HOST_CODE(long, "i8") CUDA_HOST_CODE(unsigned long, "u8") CUDA_HOST_CODE(long long, "i8")
CUDA_HOST_CODE(unsigned long long, "u8") CUDA_HOST_CODE(float, "f4") CUDA_HOST_CODE(double, "f8")
CUDA_HOST_CODE(int2, "i4") CUDA_HOST_CODE(int4, "i4") CUDA_HOST_CODE(uint2, "u4") CUDA_HOST_CODE(uint4, "u4")
CUDA_HOST_CODE(float2, "f4") CUDA_HOST_CODE(float4, "f4") CUDA_HOST_CODE(double2, "f8") CUDA_HOST_CODE(longlong2, "i8")
CUDA_HOST_CODE(ulonglong2, "u8") CUDA_HOST_CODE(char2, "i1") CUDA_HOST_CODE(char4, "i1") CUDA_HOST_CODE(uchar2, "u1")
CUDA_HOST_CODE(uchar4, "u1")

template <class T>
int describe(char* out, unsigned room) {
    if constexpr (std::is_pointer<T>::value) {
        typedef std::remove_pointer_t<T> P;
        typedef std::remove_cv_t<P> V;
        return snprintf(out, room, "pointer %s %u %u %d;", Type<V>::code, size_of<V>(), alignment_of<V>(),
                        int(std::is_const<P>::value));
    } else {
        static_assert(!std::is_reference<T>::value, "a kernel takes pointers and values, not references");
        return snprintf(out, room, "value %s %u %u 0;", Type<std::remove_cv_t<T>>::code, unsigned(sizeof(T)),
                        unsigned(alignof(T)));
    }
}

template <auto kernel>
struct Kernel;
template <class... A, void (*kernel)(A...)>
struct Kernel<kernel> {
    template <size_t... i>
    __attribute__((no_sanitize("thread", "undefined"))) static void call_with(void** arguments, std::index_sequence<i...>) {
        kernel(*static_cast<std::remove_cv_t<A>*>(arguments[i])...);
    }
    __attribute__((no_sanitize("thread", "undefined"))) static void call(void** arguments) {
        call_with(arguments, std::index_sequence_for<A...>{});
    }
    static void signature(char* out, unsigned room) {
        unsigned used = 0;
        out[0] = 0;
        ((used += unsigned(describe<A>(out + used, room - used))), ...);
    }
};

struct Entry {
    const char* name;
    void (*call)(void**);
    void (*signature)(char*, unsigned);
    int most_threads;
};

}  // namespace cuda_host
