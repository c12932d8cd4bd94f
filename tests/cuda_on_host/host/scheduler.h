// What the scheduler and the checker know of each other.
#pragma once

#include "cuda.h"

namespace cuda_host {

struct Checker {  // all do nothing in a build without checks
    void (*block_begins)(uint64_t serial);
    void (*shared_given)(void* address, uint64_t size, unsigned granule, const char* name, bool initialised);
    void (*barrier_passed)();
    void (*lanes_synchronised)(int warp, unsigned mask);
    void (*atomic)(void* address, unsigned size, void* caller);
};
extern const Checker* checker;

extern int current_thread;       // place within the block, x fastest
extern uint64_t current_block;   // place within the grid, x fastest
extern bool within_kernel;

bool in_stacks(const void* address);

constexpr int MOST_THREADS = 1024, WARP = 32;
constexpr uint64_t SHARED_BYTES = 1 << 18;  // of the block; more than any device has
extern unsigned char shared_memory[2 * SHARED_BYTES];

}  // namespace cuda_host
