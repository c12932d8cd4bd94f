// The checking build: g++ calls a function of ours before each access to memory (-fsanitize=thread, without its library),
// and when an index, a shift, a product or an address is wrong (-fsanitize=bounds,... without its library).
//
// For each 4 bytes (or each byte, of small types and of dynamic shared memory) of the arrays of a launch and of shared
// memory a cell remembers who wrote and who read last.  Two accesses, at least one of them a write and not both atomic,
// race if they come from two blocks; or from two threads of a block without a barrier between, and without a __syncwarp()
// of both lanes.  Shuffles and votes order nothing.  What is kept of readers is two threads and two blocks: a race with a
// third may be missed in one order of the threads and is found in another.
#include <link.h>
#include <sys/mman.h>

#include <cstdlib>

#include "scheduler.h"

namespace cuda_host {
namespace {

enum Kind : unsigned char { NONE, PLAIN, ATOMIC };

struct Access {
    uint32_t block, phase, event;
    uint16_t thread;
    Kind kind;
};

struct Cell {
    Access write, read, other_read;       // reads of two threads of one block, since its last barrier
    uint32_t reading_block, other_block;  // two blocks that have read
};

struct Region {
    unsigned char* start;
    uint64_t size;
    unsigned granule;
    bool writable, shared;
    const char* name;
    Cell* cells;
};

constexpr int MOST_REGIONS = 512;
Region regions[MOST_REGIONS];
char names[MOST_REGIONS][64];
int n_global, n_regions;
Cell* shared_cells;
uint32_t block, phase;
uint32_t events[MOST_THREADS / WARP], synchronised[MOST_THREADS / WARP][WARP][WARP];
uintptr_t image_start, image_stop, failure_address;

int find_image(dl_phdr_info* info, size_t, void*) {
    const uintptr_t here = reinterpret_cast<uintptr_t>(&find_image);
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD) continue;
        if (info->dlpi_addr + header.p_vaddr < low) low = info->dlpi_addr + header.p_vaddr;
        if (info->dlpi_addr + header.p_vaddr + header.p_memsz > high) high = info->dlpi_addr + header.p_vaddr + header.p_memsz;
    }
    if (here < low || here >= high) return 0;
    image_start = low, image_stop = high;
    return 1;
}

void block_begins(uint64_t serial) {
    block = uint32_t(serial);
    ++phase;
    n_regions = n_global;
}

void shared_given(void* address, uint64_t size, unsigned granule, const char* name, bool) {
    if (n_regions == MOST_REGIONS) fail("more than %d arrays and shared variables", MOST_REGIONS);
    if (!shared_cells) {
        void* memory = mmap(nullptr, sizeof(Cell) * SHARED_BYTES * 2, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the cells of shared memory");
        shared_cells = static_cast<Cell*>(memory);
    }
    unsigned char* start = static_cast<unsigned char*>(address);
    regions[n_regions++] = {start, size, granule, true, true, name, shared_cells + (start - shared_memory)};
}

void barrier_passed() { ++phase; }

void lanes_synchronised(int warp, unsigned mask) {
    const uint32_t event = ++events[warp];
    for (int a = 0; a < WARP; ++a)
        for (int b = 0; b < WARP; ++b)
            if (mask >> a & mask >> b & 1) synchronised[warp][a][b] = event;
}

// whether `earlier` may as well come after what this thread does now
bool unordered(const Access& earlier, Kind now) {
    if (earlier.kind == NONE || (earlier.kind == ATOMIC && now == ATOMIC)) return false;
    if (earlier.block != block) return true;
    if (earlier.thread == current_thread || earlier.phase != phase) return false;
    const int warp = current_thread / WARP;
    return earlier.thread / WARP != warp || synchronised[warp][earlier.thread % WARP][current_thread % WARP] <= earlier.event;
}

[[noreturn]] void race(const Region& region, uint64_t offset, const Access& earlier, bool wrote, bool writes, void* caller) {
    failure_address = reinterpret_cast<uintptr_t>(caller) - 1 - image_start;
    const char* did = wrote ? "wrote to" : "read";
    const char* does = writes ? "writes to" : "reads";
    if (earlier.block != block)
        fail("race between blocks: byte %llu of %s, which another block %s, this one %s", (unsigned long long)offset, region.name, did, does);
    fail("race within a block: byte %llu of %s, which thread %d %s, thread %d %s with no barrier between", (unsigned long long)offset,
         region.name, int(earlier.thread), did, current_thread, does);
}

[[noreturn]] void out_of_bounds(const unsigned char* address, uint64_t size, bool writes, void* caller) {
    failure_address = reinterpret_cast<uintptr_t>(caller) - 1 - image_start;
    const bool shared = address >= shared_memory && address < shared_memory + sizeof(shared_memory);
    const Region* nearest = nullptr;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < n_regions; ++i) {
        const Region& r = regions[i];
        if (r.shared != shared) continue;
        const uint64_t distance = address < r.start ? uint64_t(r.start - address) : uint64_t(address - r.start) < r.size ? 0 : uint64_t(address - r.start) - r.size;
        if (distance < least) least = distance, nearest = &r;
    }
    const char* does = writes ? "writes" : "reads";
    if (!nearest || least > (1ull << 40)) fail("out of bounds: %s %llu bytes at a wild address", does, (unsigned long long)size);
    const bool before = address < nearest->start;
    fail("out of bounds: %s %llu bytes, %llu bytes %s %s (%llu bytes)", does, (unsigned long long)size, (unsigned long long)least,
         before ? "before" : "after the end of", nearest->name, (unsigned long long)nearest->size);
}

void access(void* pointer, uint64_t size, bool reads, bool writes, Kind kind, void* caller) {
    unsigned char* address = static_cast<unsigned char*>(pointer);
    if (!within_kernel) return;
    const bool shared = address >= shared_memory && address < shared_memory + sizeof(shared_memory);
    if (!shared) {
        const uintptr_t number = reinterpret_cast<uintptr_t>(pointer);
        if ((number >= image_start && number < image_stop) || in_stacks(pointer)) return;
    }
    const Region* region = nullptr;
    for (int i = shared ? n_global : 0, stop = shared ? n_regions : n_global; i < stop; ++i)
        if (uint64_t(address - regions[i].start) < regions[i].size) {
            region = regions + i;
            break;
        }
    const uint64_t offset = region ? uint64_t(address - region->start) : 0;
    if (!region || offset + size > region->size) out_of_bounds(region ? region->start + region->size : address, size, writes, caller);
    if (writes && !region->writable) {
        failure_address = reinterpret_cast<uintptr_t>(caller) - 1 - image_start;
        fail("writes to %s, which the kernel takes as const", region->name);
    }
    const Access now = {block, phase, events[current_thread / WARP], uint16_t(current_thread), kind};
    for (uint64_t g = offset / region->granule; g <= (offset + size - 1) / region->granule; ++g) {
        Cell& cell = region->cells[g];
        const uint64_t byte = g * region->granule;
        if (region->shared && cell.write.block != block) {  // left by an earlier block
            cell.write.kind = cell.read.kind = cell.other_read.kind = NONE;
            cell.reading_block = cell.other_block = 0;
            cell.write.block = block;
        }
        if (region->shared && reads && cell.write.kind == NONE) {
            failure_address = reinterpret_cast<uintptr_t>(caller) - 1 - image_start;
            fail("byte %llu of %s is read, which nobody has written to in this block", (unsigned long long)byte, region->name);
        }
        if (unordered(cell.write, kind)) race(*region, byte, cell.write, true, writes, caller);
        if (writes) {
            for (const Access* read : {&cell.read, &cell.other_read})
                if (read->block == block && unordered(*read, kind)) race(*region, byte, *read, false, true, caller);
            if (!region->shared)
                for (const uint32_t reader : {cell.reading_block, cell.other_block})
                    if (reader && reader != block) race(*region, byte, Access{reader, 0, 0, 0, PLAIN}, false, true, caller);
            cell.write = now;
        }
        if (reads && kind == PLAIN) {
            if (!cell.reading_block) cell.reading_block = block;
            else if (cell.reading_block != block) cell.other_block = block;
            auto recent = [&](const Access& a) { return a.kind != NONE && a.block == block && a.phase == phase; };
            if (!recent(cell.read) || cell.read.thread == now.thread) {
                cell.read = now;
            } else if (!recent(cell.other_read) || cell.other_read.thread == now.thread || cell.other_read.thread / WARP == cell.read.thread / WARP) {
                cell.other_read = now;
            }
        }
    }
}

void atomic_access(void* address, unsigned size, void* caller) { access(address, size, true, true, ATOMIC, caller); }

const Checker the_checker = {block_begins, shared_given, barrier_passed, lanes_synchronised, atomic_access};

struct Location {
    const char* file;
    uint32_t line, column;
};

}  // namespace

extern "C" {
#define EXPORTED __attribute__((visibility("default")))

EXPORTED void cuda_host_check_clear() {
    for (int i = 0; i < n_global; ++i) free(regions[i].cells);
    n_global = n_regions = 0;
    failure_address = 0;
    checker = &the_checker;
    if (!image_start) dl_iterate_phdr(find_image, nullptr);
}

EXPORTED int cuda_host_check_region(void* start, uint64_t size, unsigned granule, int writable, const char* name) {
    if (n_global == MOST_REGIONS) return 1;
    Cell* cells = static_cast<Cell*>(calloc(size / granule + 2, sizeof(Cell)));
    if (!cells) return 1;
    snprintf(names[n_global], sizeof(names[0]), "%s", name);
    regions[n_global] = {static_cast<unsigned char*>(start), size, granule, writable != 0, false, names[n_global], cells};
    n_regions = ++n_global;
    return 0;
}

EXPORTED uint64_t cuda_host_failure_address() { return failure_address; }

#define CALLER __builtin_return_address(0)
#define ACCESSES(n)                                                                                        \
    void __tsan_read##n(void* p) { access(p, n, true, false, PLAIN, CALLER); }                             \
    void __tsan_write##n(void* p) { access(p, n, false, true, PLAIN, CALLER); }                            \
    void __tsan_unaligned_read##n(void* p) { access(p, n, true, false, PLAIN, CALLER); }                   \
    void __tsan_unaligned_write##n(void* p) { access(p, n, false, true, PLAIN, CALLER); }                  \
    void __tsan_volatile_read##n(void* p) { access(p, n, true, false, PLAIN, CALLER); }                    \
    void __tsan_volatile_write##n(void* p) { access(p, n, false, true, PLAIN, CALLER); }
ACCESSES(1) ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16)
void __tsan_read_range(void* p, size_t n) { if (n) access(p, n, true, false, PLAIN, CALLER); }
void __tsan_write_range(void* p, size_t n) { if (n) access(p, n, false, true, PLAIN, CALLER); }
void __tsan_init() {}

#define HANDLER(name, arguments, ...)                                           \
    void __ubsan_handle_##name arguments { fail(__VA_ARGS__); }                 \
    void __ubsan_handle_##name##_abort arguments { fail(__VA_ARGS__); }
HANDLER(out_of_bounds, (Location* l, uintptr_t index), "line %u: the index %lld is out of bounds", l->line, (long long)index)
HANDLER(add_overflow, (Location* l, uintptr_t a, uintptr_t b), "line %u: %lld + %lld overflows", l->line, (long long)a, (long long)b)
HANDLER(sub_overflow, (Location* l, uintptr_t a, uintptr_t b), "line %u: %lld - %lld overflows", l->line, (long long)a, (long long)b)
HANDLER(mul_overflow, (Location* l, uintptr_t a, uintptr_t b), "line %u: %lld * %lld overflows", l->line, (long long)a, (long long)b)
HANDLER(negate_overflow, (Location* l, uintptr_t a), "line %u: -(%lld) overflows", l->line, (long long)a)
HANDLER(divrem_overflow, (Location* l, uintptr_t, uintptr_t b), "line %u: a division by %lld", l->line, (long long)b)
HANDLER(shift_out_of_bounds, (Location* l, uintptr_t, uintptr_t b), "line %u: a shift by %lld", l->line, (long long)b)
HANDLER(float_cast_overflow, (Location* l, uintptr_t), "line %u: a number that the integer type cannot hold", l->line)

struct TypeMismatch {
    Location place;
    const void* type;
    unsigned char log_alignment, kind;
};
HANDLER(type_mismatch_v1, (TypeMismatch* m, uintptr_t address), "line %u: a misaligned access (%#llx is no multiple of %d)", m->place.line,
        (unsigned long long)address, 1 << m->log_alignment)
}

}  // namespace cuda_host
