// malloc after the manner of Electric Fence: every block of LEAST bytes or more ends where a page begins that nobody may
// touch, so that reading or writing beyond it is a fault at that very instruction.  Addresses are never used twice, so
// that a block that was freed is out of bounds too.  Up to 15 bytes of alignment behind a block are checked as it is freed.
// Smaller blocks are glibc's own: one that is freed is filled, and kept for a while, after which it must be as it was.
// For LD_PRELOAD under glibc.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, LEAST = 4096, LIVE = 30000 };  // two mappings each, and the system allows 65,530
enum { KEPT = 256 };                               // small blocks that were freed
static const size_t REGION = (size_t)32 << 40;     // addresses, not memory
static const unsigned char PATTERN = 0xa5;

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

// A page of its own before the block's pages.
typedef struct {
    uintptr_t user, end;  // the block's first address; that of the forbidden page
    size_t size;
} Header;

static uintptr_t first, last;
static atomic_uintptr_t next;
static atomic_long live;
static _Atomic(unsigned char*) kept[KEPT];
static atomic_ulong turn;

__attribute__((constructor)) static void reserve(void) {
    if (first) return;
    void* region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) abort();
    next = first = (uintptr_t)region;
    last = first + REGION;
}

static void* guarded(size_t size, size_t alignment) {
    if (!first) reserve();  // others' constructors come before ours
    if (alignment < 16) alignment = 16;
    if (size < LEAST || size > REGION / 2 || alignment > PAGE) return NULL;
    size_t reach = (size + alignment - 1) & -alignment, pages = (reach + PAGE - 1) & -(size_t)PAGE;
    uintptr_t place = atomic_fetch_add(&next, pages + 2 * PAGE);
    if (place + pages + 2 * PAGE > last || live >= LIVE) abort();
    if (mprotect((void*)place, PAGE + pages, PROT_READ | PROT_WRITE)) return NULL;
    live++;
    Header* header = (Header*)place;
    header->end = place + PAGE + pages;
    header->user = header->end - reach;
    header->size = size;
    memset((char*)header->user + size, PATTERN, reach - size);
    return (void*)header->user;
}

static Header* header_of(void* block) {
    uintptr_t user = (uintptr_t)block;
    if (user < first || user >= last) return NULL;
    Header* header = (Header*)((user & -(uintptr_t)PAGE) - PAGE);  // a fault if the block was freed
    if (header->user != user) abort();
    return header;
}

static size_t usable(void* block) {
    size_t field = block ? ((size_t*)block)[-1] : 8;  // glibc's: of a mapped block two fields are not usable
    return (field & ~(size_t)7) - (field & 2 ? 16 : 8);
}

static void free_small(unsigned char* block) {
    if (!block) return;
    memset(block, PATTERN, usable(block));
    block = atomic_exchange(&kept[turn++ % KEPT], block);
    if (!block) return;
    for (unsigned char* p = block; p < block + usable(block); p++)
        if (*p != PATTERN) abort();
    __libc_free(block);
}

void free(void* block) {
    Header* header = header_of(block);
    if (!header) {
        free_small(block);
        return;
    }
    for (unsigned char* p = (unsigned char*)block + header->size; p < (unsigned char*)header->end; p++)
        if (*p != PATTERN) abort();
    for (unsigned char* p = (unsigned char*)header + PAGE; p < (unsigned char*)block; p++)
        if (*p) abort();
    mmap(header, header->end - (uintptr_t)header, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    live--;
}

void* malloc(size_t size) {
    void* block = guarded(size, 16);
    return block ? block : __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
    size_t total;
    void* block = __builtin_mul_overflow(count, size, &total) ? NULL : guarded(total, 16);  // fresh pages are zero
    return block ? block : __libc_calloc(count, size);
}

void* realloc(void* block, size_t size) {
    Header* header = header_of(block);
    if (!header) return block ? __libc_realloc(block, size) : malloc(size);
    void* moved = size ? malloc(size) : NULL;
    if (size && !moved) return NULL;
    if (moved) memcpy(moved, block, header->size < size ? header->size : size);
    free(block);
    return moved;
}

void* memalign(size_t alignment, size_t size) {
    void* block = guarded(size, alignment);
    return block ? block : __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** block, size_t alignment, size_t size) {
    void* found = memalign(alignment, size);
    if (!found) return ENOMEM;
    *block = found;
    return 0;
}

size_t malloc_usable_size(void* block) {
    Header* header = header_of(block);
    return header ? header->size : usable(block);
}
