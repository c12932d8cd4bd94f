// The threads of a block, as fibers of one thread of the host.
//
// A thread runs until it ends, or waits at a barrier or for its warp; then the next one gets the processor, in the order
// asked for.  Blocks run one after the other.  A thread that never waits leaves its stack to the next one, so that
// kernels without barriers cost two switches a thread.  Errors end the launch: the fibers are forgotten where they are.
#include "scheduler.h"

#include <cstdarg>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_host {

Index thread_index, block_index, block_shape, grid_shape;
int current_thread;
uint64_t current_block;
bool within_kernel;
unsigned char shared_memory[2 * SHARED_BYTES] __attribute__((aligned(1024)));

namespace {
void nothing(uint64_t) {}
void nothing_given(void*, uint64_t, unsigned, const char*, bool) {}
void nothing_passed() {}
void nothing_synchronised(int, unsigned) {}
void nothing_noted(void*, unsigned, void*) {}
const Checker no_checker = {nothing, nothing_given, nothing_passed, nothing_synchronised, nothing_noted};
}  // namespace
const Checker* checker = &no_checker;

namespace {

enum State { FRESH, READY, AT_BARRIER, IN_WARP, DONE };

struct Fiber {
#if defined(__x86_64__)
    void* stack_pointer;
#else
    ucontext_t context;
#endif
    unsigned char* stack;
    State state;
    int site, predicate;
    // of an exchange with the warp
    Exchange kind;
    unsigned mask;
    uint64_t value;
    int source;
    bool is_signed;
};

constexpr uint64_t STACK = 1 << 18, PAGE = 4096;

Fiber fibers[MOST_THREADS];
Fiber scheduler_fiber;
unsigned char* stacks;                      // one mapping; an unmapped page below each
unsigned char* free_stacks[MOST_THREADS];
int n_free_stacks;
unsigned short order[MOST_THREADS];
unsigned waiting_lanes[MOST_THREADS / WARP];
int n_threads, n_live, n_at_barrier, barrier_votes;
void (*kernel_call)(void**);
void** kernel_arguments;
char* message;
unsigned message_size;
bool failed;
uint64_t serial, random_state;
uint64_t dynamic_bytes, shared_used, most_shared;

constexpr uint64_t GAP = 256;  // between shared variables

#if defined(__x86_64__)
extern "C" void cuda_host_switch(void** save, void* to) __attribute__((visibility("hidden")));
__asm__(
    ".text\n.hidden cuda_host_switch\n.globl cuda_host_switch\n.type cuda_host_switch,@function\ncuda_host_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size cuda_host_switch,.-cuda_host_switch\n");
void switch_fibers(Fiber& from, Fiber& to) { cuda_host_switch(&from.stack_pointer, to.stack_pointer); }
void prepare(Fiber& fiber, void (*entry)()) {
    void** top = reinterpret_cast<void**>(fiber.stack + STACK) - 2;
    top[0] = reinterpret_cast<void*>(entry);  // `ret` goes there, with the alignment that a call leaves
    top[1] = nullptr;
    fiber.stack_pointer = top - 6;
}
#else
void switch_fibers(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
void prepare(Fiber& fiber, void (*entry)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
}
#endif

uint64_t next_random() {  // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Dull;
}

unsigned char* map_stacks() {
    const uint64_t stride = STACK + PAGE;
    void* memory = mmap(nullptr, MOST_THREADS * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    auto* mapped = static_cast<unsigned char*>(memory);
    for (int t = 0; t < MOST_THREADS; ++t) mprotect(mapped + t * stride, PAGE, PROT_NONE);
    return mapped;
}

void leave() { switch_fibers(fibers[current_thread], scheduler_fiber); }

void run_thread() {
    kernel_call(kernel_arguments);
    fibers[current_thread].state = DONE;
    leave();
    abort();
}

void say(const char* format, va_list arguments) {
    if (failed) return;
    failed = true;
    int used = vsnprintf(message, message_size, format, arguments);
    if (used > 0 && unsigned(used) < message_size)
        snprintf(message + used, message_size - unsigned(used), " [block (%u, %u, %u), thread (%u, %u, %u)]", block_index.x,
                 block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z);
}

void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
void complain(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void resume(int t) {
    Fiber& fiber = fibers[t];
    current_thread = t;
    const unsigned plane = block_shape.x * block_shape.y;
    thread_index = {unsigned(t) % block_shape.x, unsigned(t) / block_shape.x % block_shape.y, unsigned(t) / plane};
    if (fiber.state == FRESH) {
        fiber.stack = free_stacks[--n_free_stacks];
        prepare(fiber, run_thread);
    }
    fiber.state = READY;
    within_kernel = true;
    switch_fibers(scheduler_fiber, fiber);
    within_kernel = false;
    if (fiber.state == DONE) {
        free_stacks[n_free_stacks++] = fiber.stack;
        --n_live;
    }
}

void release_barrier() {
    int site = 0, votes = 0, first = -1;
    for (int t = 0; t < n_threads; ++t) {
        if (fibers[t].state == DONE) {
            complain("thread %d of the block has ended while others wait at a barrier (line %d)", t, fibers[first < 0 ? order[0] : first].site >> 10);
            return;
        }
        if (first < 0) first = t, site = fibers[t].site;
        if (fibers[t].site != site) {
            complain("threads %d and %d of the block wait at different barriers (lines %d and %d)", first, t, site >> 10,
                     fibers[t].site >> 10);
            return;
        }
        votes += fibers[t].predicate != 0;
    }
    barrier_votes = votes;
    for (int t = 0; t < n_threads; ++t) fibers[t].state = READY;
    n_at_barrier = 0;
    checker->barrier_passed();
}

int64_t as_signed(uint64_t value) { return int32_t(uint32_t(value)); }

// all lanes of the mask are there: give each its result, in `value`
void release_warp(int warp, unsigned mask) {
    Fiber* lanes = fibers + warp * WARP;
    const int first = __builtin_ctz(mask);
    const Fiber& model = lanes[first];
    uint64_t results[WARP] = {}, total = 0;
    bool started = false;
    for (int l = 0; l < WARP; ++l) {
        if (!(mask >> l & 1)) continue;
        if (lanes[l].site != model.site || lanes[l].kind != model.kind || lanes[l].mask != mask) {
            complain("lanes %d and %d of a warp wait for each other in different places or with different masks (lines %d and %d, "
                     "masks %#x and %#x)", first, l, model.site >> 10, lanes[l].site >> 10, mask, lanes[l].mask);
            return;
        }
        const uint64_t value = lanes[l].value;
        if (model.kind == SHUFFLE) {
            const int source = lanes[l].source;
            if (source < 0 || source >= WARP || !(mask >> source & 1)) {
                complain("line %d: lane %d reads lane %d, which is not in the mask %#x", model.site >> 10, l, source, mask);
                return;
            }
            results[l] = lanes[source].value;
        } else if (model.kind == BALLOT) {
            total |= uint64_t(value != 0) << l;
        } else if (model.kind == MATCH) {
            for (int k = 0; k < WARP; ++k)
                if (mask >> k & 1) results[l] |= uint64_t(lanes[k].value == value) << k;
        } else if (!started) {
            total = value;
        } else if (model.kind == ADD) {
            total = uint32_t(total + value);
        } else if (model.kind == MIN || model.kind == MAX) {
            const bool less = model.is_signed ? as_signed(value) < as_signed(total) : value < total;
            if (less == (model.kind == MIN)) total = value;
        } else if (model.kind == AND) {
            total &= value;
        } else if (model.kind == OR) {
            total |= value;
        } else if (model.kind == XOR) {
            total ^= value;
        }
        started = true;
    }
    const bool own = model.kind == SHUFFLE || model.kind == MATCH;
    if (model.kind == SYNC) checker->lanes_synchronised(warp, mask);
    for (int l = 0; l < WARP; ++l)
        if (mask >> l & 1) {
            lanes[l].value = own ? results[l] : total;
            lanes[l].state = READY;
        }
    waiting_lanes[warp] &= ~mask;
}

void explain_deadlock() {
    for (int t = 0; t < n_threads; ++t)
        if (fibers[t].state == IN_WARP) {
            const int warp = t / WARP;
            for (int l = 0; l < WARP; ++l) {
                const int other = warp * WARP + l;
                if (!(fibers[t].mask >> l & 1) || (other < n_threads && fibers[other].state == IN_WARP)) continue;
                const char* what = other >= n_threads ? "does not exist" : fibers[other].state == DONE ? "has ended" : "waits at a barrier";
                complain("line %d: lane %d waits for lane %d of the mask %#x, which %s", fibers[t].site >> 10, t % WARP, l,
                         fibers[t].mask, what);
                return;
            }
        }
    for (int t = 0; t < n_threads; ++t)
        if (fibers[t].state == IN_WARP) {
            complain("line %d: lanes of a warp wait for each other with different masks", fibers[t].site >> 10);
            return;
        }
    for (int t = 0; t < n_threads; ++t)
        if (fibers[t].state == AT_BARRIER) {
            release_barrier();
            return;
        }
}

void run_block(int which_order) {
    ++serial;
    n_live = n_threads;
    n_at_barrier = 0;
    n_free_stacks = MOST_THREADS;
    for (int t = 0; t < MOST_THREADS; ++t) free_stacks[MOST_THREADS - 1 - t] = stacks + t * (STACK + PAGE) + PAGE;
    for (int t = 0; t < n_threads; ++t) fibers[t].state = FRESH;
    memset(waiting_lanes, 0, sizeof(waiting_lanes));
    // quiet NaNs of either width, huge as integers
    const uint64_t dirty = shared_used > dynamic_bytes ? shared_used : dynamic_bytes;
    memset(shared_memory, 0xff, dirty + GAP < sizeof(shared_memory) ? dirty + GAP : sizeof(shared_memory));
    shared_used = dynamic_bytes;
    checker->block_begins(serial);
    if (dynamic_bytes) checker->shared_given(shared_memory, dynamic_bytes, 1, "the dynamic shared memory", false);
    while (n_live && !failed) {
        if (which_order == 2)
            for (int t = n_threads - 1; t > 0; --t) {
                const int other = int(next_random() % uint64_t(t + 1));
                const unsigned short kept = order[t];
                order[t] = order[other], order[other] = kept;
            }
        bool progress = false;
        for (int i = 0; i < n_threads && !failed; ++i) {
            const int t = order[i];
            if (fibers[t].state == READY || fibers[t].state == FRESH) resume(t), progress = true;
        }
        if (failed) return;
        if (n_at_barrier && n_at_barrier == n_live) release_barrier(), progress = true;
        if (!progress && n_live) explain_deadlock();
    }
}

}  // namespace

bool in_stacks(const void* address) {
    const unsigned char* p = static_cast<const unsigned char*>(address);
    return p >= stacks && p < stacks + MOST_THREADS * (STACK + PAGE);
}

void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    leave();
    abort();
}

int lane() { return current_thread % WARP; }

int barrier(int site, int predicate) {
    Fiber& fiber = fibers[current_thread];
    fiber.site = site;
    fiber.predicate = predicate;
    fiber.state = AT_BARRIER;
    ++n_at_barrier;
    leave();
    return barrier_votes;
}

uint64_t exchange(int site, Exchange kind, unsigned mask, uint64_t value, int source, bool is_signed) {
    Fiber& fiber = fibers[current_thread];
    const int warp = current_thread / WARP;
    if (!(mask >> lane() & 1)) fail("line %d: lane %d calls with the mask %#x, in which it is not", site >> 10, lane(), mask);
    fiber.site = site, fiber.kind = kind, fiber.mask = mask, fiber.value = value, fiber.source = source, fiber.is_signed = is_signed;
    fiber.state = IN_WARP;
    waiting_lanes[warp] |= 1u << lane();
    if ((waiting_lanes[warp] & mask) == mask) release_warp(warp, mask);
    leave();
    return fiber.value;
}

void* shared_variable(SharedVariable& variable) {
    if (variable.block == serial) return variable.address;
    const uint64_t start = (shared_used + (shared_used > dynamic_bytes || dynamic_bytes ? GAP : 0) + variable.alignment - 1) / variable.alignment * variable.alignment;
    if (start + variable.size > SHARED_BYTES) fail("the shared variables of the block take more than %d bytes", int(SHARED_BYTES));
    variable.address = shared_memory + start;
    variable.block = serial;
    memset(variable.address, 0xff, variable.size);
    shared_used = start + variable.size;
    most_shared += variable.size;
    checker->shared_given(variable.address, variable.size, variable.element, variable.name, false);
    return variable.address;
}

void* dynamic_shared() { return shared_memory; }

void note_atomic(void* address, unsigned size) { checker->atomic(address, size, __builtin_return_address(0)); }

template <class T>
T atomic(T* address, T operand, T (*combine)(T, T)) {
    if (reinterpret_cast<uintptr_t>(address) % sizeof(T)) fail("an atomic operation on a misaligned address");
    checker->atomic(address, sizeof(T), __builtin_return_address(0));
    const T old = *address;
    *address = combine(old, operand);
    return old;
}
template int atomic(int*, int, int (*)(int, int));
template unsigned atomic(unsigned*, unsigned, unsigned (*)(unsigned, unsigned));
template long long atomic(long long*, long long, long long (*)(long long, long long));
template unsigned long long atomic(unsigned long long*, unsigned long long, unsigned long long (*)(unsigned long long, unsigned long long));
template float atomic(float*, float, float (*)(float, float));
template double atomic(double*, double, double (*)(double, double));

namespace {
template <class T>
T compare_and_swap(T* address, T expected, T value, void* caller) {
    if (reinterpret_cast<uintptr_t>(address) % sizeof(T)) fail("an atomic operation on a misaligned address");
    checker->atomic(address, sizeof(T), caller);
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}
}  // namespace

// The stacks of the threads: those that another library has mapped, or new ones.  All libraries of a process share them,
// one launch at a time: a page that is not mapped below each stack counts as a mapping, of which a process has some 65,000.
extern "C" __attribute__((visibility("default"))) unsigned char* cuda_host_stacks(unsigned char* mapped) {
    return stacks = mapped ? mapped : map_stacks();
}

extern "C" __attribute__((visibility("default"))) int cuda_host_launch(void (*call)(void**), void** arguments, const unsigned* grid, const unsigned* block,
                                                                       uint64_t dynamic, int which_order, uint64_t seed, uint64_t last,
                                                                       uint64_t* static_shared, char* text, unsigned text_size) {
    message = text, message_size = text_size, failed = false;
    text[0] = 0;
    kernel_call = call, kernel_arguments = arguments;
    grid_shape = {grid[0], grid[1], grid[2]};
    block_shape = {block[0], block[1], block[2]};
    n_threads = int(block[0] * block[1] * block[2]);
    dynamic_bytes = dynamic;
    most_shared = 0;
    random_state = seed * 2 + 1;
    for (int t = 0; t < n_threads; ++t) order[t] = (unsigned short)(which_order == 1 ? n_threads - 1 - t : t);
    const uint64_t n_blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    uint64_t stride = 1, offset = 0;
    if (which_order == 2) {  // steps of a stride that has no factor in common with their number meet each block once
        offset = next_random() % n_blocks;
        for (;;) {
            stride = next_random() % n_blocks;
            uint64_t a = n_blocks, b = stride;
            while (b) {
                const uint64_t rest = a % b;
                a = b, b = rest;
            }
            if (a == 1) break;
        }
    }
    uint64_t largest = 0;
    // the last blocks only, if so many are asked for: in the forward order they come last, in the reverse order first
    const uint64_t run = last && last < n_blocks ? last : n_blocks;
    const uint64_t begin = which_order == 0 ? n_blocks - run : 0;
    for (uint64_t i = begin; i < begin + run && !failed; ++i) {
        const uint64_t b = which_order == 0 ? i : which_order == 1 ? n_blocks - 1 - i : uint64_t((unsigned __int128)i * stride % n_blocks + offset) % n_blocks;
        current_block = b;
        block_index = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        most_shared = 0;
        run_block(which_order);
        if (most_shared > largest) largest = most_shared;
    }
    *static_shared = largest;
    return failed;
}

}  // namespace cuda_host

int atomicCAS(int* p, int expected, int value) { return cuda_host::compare_and_swap(p, expected, value, __builtin_return_address(0)); }
unsigned atomicCAS(unsigned* p, unsigned expected, unsigned value) { return cuda_host::compare_and_swap(p, expected, value, __builtin_return_address(0)); }
unsigned long long atomicCAS(unsigned long long* p, unsigned long long expected, unsigned long long value) {
    return cuda_host::compare_and_swap(p, expected, value, __builtin_return_address(0));
}
