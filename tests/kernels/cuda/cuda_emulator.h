// Runs CUDA C++ kernels on the CPU: what device.cuh wraps, and the few words of the language that our kernels use.
//
// Every CUDA thread is a coroutine, and one operating-system thread runs them all, so a run can be repeated exactly.
// A coroutine gives way only where it must wait for others: at __syncthreads(), at an operation of a whole warp, and
// in a spin loop. Blocks have an order, drawn from a seed, and one runs only while none before it can: those in front
// get as far ahead as they are let, and where a barrier is missing they read what is not there yet. When nobody can go
// on, the run ends with an error instead of hanging.
//
// What give() wrote is weakly ordered, as on a device. All that was ever written to an address is kept, and load_fresh()
// draws among what may still be seen there: the last value that this thread is bound to see, or any later one. Bound it
// is by its own writes, by those before a __syncthreads() of its block, and by those before a release_increment() whose
// count it acquired, of that thread and of all that had bound that thread. So a fence that is missing gives old values.
// A word of give_word() is one value, and look_for() never goes back behind what this thread has found at an address.
//
// All that is the same for every kernel stands in cuda_emulator.cc, which is compiled once: here is little to read.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define DYNAMIC_SHARED(name) uint4* name = reinterpret_cast<uint4*>(emulator::current->block->shared.data())

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
template <class Number> Number min(Number a, Number b) { return b < a ? b : a; }

namespace emulator {

// For each thread of the grid, how many of its writes must be seen.
using Bound = std::vector<unsigned>;

// Everybody of a block, or of a warp, meets here again and again.
struct Meeting {
    int size, arrived = 0;
    unsigned long generation = 0;
};

// Such a meeting of a block or of a cluster, which orders memory as well.
struct Barrier {
    Meeting meeting;
    Bound bound;                           // of all who came so far
    std::shared_ptr<const Bound> joined;   // the last that went into it
    std::shared_ptr<const Bound> common;   // of all who were there the last time
};

struct Warp {
    Meeting meeting{32};
    unsigned words[32][6];
    Meeting pairs[16] = {{2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}};
};

struct Block {
    Barrier barrier;
    Barrier* cluster;         // of all blocks of its cluster
    Block* const* together;   // which are these
    std::vector<uint4> shared;
    std::vector<Warp> warps;
    std::vector<struct Thread*> live;
    unsigned begun = 0, missed = 0;   // threads that have; and times that others looked here before, or after the end
};

struct Thread {
    ucontext_t context;   // where it begins
    jmp_buf place;        // where it gave way
    std::unique_ptr<char[]> stack;
    Block* block;
    dim3 thread_index, block_index;
    Meeting* waits_for = nullptr;   // to get past this generation
    unsigned long generation = 0;
    bool begun = false, done = false;
    unsigned number, writes = 0;
    std::shared_ptr<const Bound> bound;   // but for its own writes, all of which it sees
};

extern Thread* current;
extern dim3 block_size, grid_size;
extern unsigned long progress;   // grows with all that a spinning thread may be waiting for

void give_way();
void meet(Meeting& meeting, bool counts = true);
void arrive(Barrier& barrier);
void wait(Barrier& barrier);
void write(unsigned short* address, unsigned short value);
void write(unsigned* address, unsigned value);
unsigned short read(const unsigned short* address);
unsigned look(const unsigned* address);
void release(const int* counter);
void acquire(const int* counter);

// Run a kernel on all threads of a grid, whose blocks are in clusters of so many. Returns 0, or 1 after a deadlock, or 2
// if it wrote past its shared memory, which starts as NaN, or 3 if into that of a block that had not begun or was done.
int run(void (*body)(void* const*), void* const* arguments, dim3 grid, dim3 block, unsigned cluster,
        size_t shared_bytes, unsigned seed);

inline Warp& warp() { return current->block->warps[current->thread_index.x / 32]; }
inline unsigned lane() { return current->thread_index.x % 32; }

inline float half_to_float(unsigned half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                       : exponent     ? std::ldexp(1024.0f + fraction, exponent - 25)
                                      : std::ldexp(static_cast<float>(fraction), -24);
    return half & 0x8000u ? -size : size;
}

inline float to_float(unsigned word) {
    float value;
    std::memcpy(&value, &word, 4);
    return value;
}

inline unsigned to_word(float value) {
    unsigned word;
    std::memcpy(&word, &value, 4);
    return word;
}

template <auto KERNEL, class... A, size_t... I>
void call(void (*)(A...), void* const* arguments, std::index_sequence<I...>) {
    KERNEL(*static_cast<A*>(arguments[I])...);
}

// As cuLaunchKernel: arguments are pointers to each argument.
template <auto KERNEL, class... A>
int launch(void (*)(A...), void* const* arguments, dim3 grid, dim3 block, unsigned cluster, size_t shared_bytes,
           unsigned seed) {
    const auto body = [](void* const* given) {
        call<KERNEL>(static_cast<void (*)(A...)>(nullptr), given, std::index_sequence_for<A...>{});
    };
    return run(body, arguments, grid, block, cluster, shared_bytes, seed);
}

// sum (16, 8) += a (16, 8 words) b (8 words, 8) of a warp; part(word, p) is the p-th of the PARTS numbers in a word.
// Sums are taken in double: the tensor core's own order and rounding are not documented.
template <int PARTS, class Part>
inline void multiply_add(float* sum, const unsigned (&mine)[6], Part part) {
    Warp& here = warp();
    std::memcpy(here.words[lane()], mine, sizeof mine);
    meet(here.meeting);
    const unsigned group = lane() / 4, pair = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const unsigned row = group + (i >= 2 ? 8 : 0), column = 2 * pair + i % 2;
        double total = 0.0;
        for (unsigned word = 0; word < 8; ++word) {
            const unsigned a = here.words[row % 8 * 4 + word % 4][(row >= 8 ? 1 : 0) + (word >= 4 ? 2 : 0)];
            const unsigned b = here.words[column * 4 + word % 4][4 + (word >= 4 ? 1 : 0)];
            for (int p = 0; p < PARTS; ++p) total += static_cast<double>(part(a, p)) * part(b, p);
        }
        sum[i] += static_cast<float>(total);
    }
    meet(here.meeting);
}

}   // namespace emulator

#define threadIdx (emulator::current->thread_index)
#define blockIdx (emulator::current->block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)

inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline unsigned __float_as_uint(float value) { return emulator::to_word(value); }
inline float __uint_as_float(unsigned word) { return emulator::to_float(word); }

inline void __syncthreads() {
    emulator::arrive(emulator::current->block->barrier);
    emulator::wait(emulator::current->block->barrier);
}

inline void cluster_arrive() { emulator::arrive(*emulator::current->block->cluster); }
inline void cluster_wait() { emulator::wait(*emulator::current->block->cluster); }

template <class Word> Word* in_block(Word* address, int block) {
    const emulator::Block& here = *emulator::current->block;
    emulator::Block& there = *here.together[block];
    there.missed += &there != &here && (there.begun == 0 || there.live.empty());
    const auto at = reinterpret_cast<const char*>(address) - reinterpret_cast<const char*>(here.shared.data());
    return reinterpret_cast<Word*>(reinterpret_cast<char*>(there.shared.data()) + at);
}

inline void give(unsigned short* address, unsigned short value) { emulator::write(address, value); }
inline void give(unsigned* address, unsigned value) {
    unsigned short halves[2], *to = reinterpret_cast<unsigned short*>(address);
    std::memcpy(halves, &value, 4);
    for (int i = 0; i < 2; ++i) emulator::write(to + i, halves[i]);
}

inline uint4 load_fresh(const uint4* address) {
    unsigned short halves[8];
    for (int i = 0; i < 8; ++i) halves[i] = emulator::read(reinterpret_cast<const unsigned short*>(address) + i);
    uint4 value;
    std::memcpy(&value, halves, 16);
    return value;
}

inline uint4 load_shared(const uint4* address) { return load_fresh(address); }

inline void give_word(unsigned* address, unsigned value) {
    emulator::write(address, value);
    ++emulator::progress;
}

inline uint4 look_for(const uint4* address) {
    const unsigned* words = reinterpret_cast<const unsigned*>(address);
    unsigned found[4];
    for (int i = 3; i >= 0; --i) found[i] = emulator::look(words + i);
    return {found[0], found[1], found[2], found[3]};
}

inline unsigned from_neighbour(unsigned word) {
    emulator::Warp& here = emulator::warp();
    emulator::Meeting& pair = here.pairs[emulator::lane() / 2];
    here.words[emulator::lane()][0] = word;
    emulator::meet(pair);
    const unsigned other = here.words[emulator::lane() ^ 1][0];
    emulator::meet(pair);
    return other;
}

// Who looks for something in vain has made no progress.
inline bool any_lane(bool here) {
    emulator::Warp& warp = emulator::warp();
    warp.words[emulator::lane()][0] = here;
    emulator::meet(warp.meeting, false);
    bool any = false;
    for (const auto& words : warp.words) any |= words[0] != 0;
    emulator::meet(warp.meeting, false);
    emulator::progress += !any;
    return any;
}

inline void release_increment(int* counter) {
    emulator::release(counter);
    ++*counter;
    ++emulator::progress;
}

inline int load_acquire(const int* counter) {
    emulator::give_way();
    emulator::acquire(counter);
    return *static_cast<const volatile int*>(counter);
}

inline float exchange_lanes(float value, int mask) {
    emulator::Warp& here = emulator::warp();
    here.words[emulator::lane()][0] = emulator::to_word(value);
    emulator::meet(here.meeting);
    const float other = emulator::to_float(here.words[emulator::lane() ^ mask][0]);
    emulator::meet(here.meeting);
    return other;
}

inline unsigned round_bf16(float value) {
    const unsigned word = emulator::to_word(value);
    if (std::isnan(value)) return 0x7fffu;
    return (word + 0x7fffu + (word >> 16 & 1)) >> 16;
}

inline unsigned round_fp16(float value) {
    const float size = std::fabs(value);
    if (!(size < 65520.0f)) return 0x7fffu;   // what would round to 65536, infinity and NaN
    const unsigned word = emulator::to_word(size), sign = emulator::to_word(value) >> 16 & 0x8000u;
    if (size < 0x1p-14f) return sign | static_cast<unsigned>(std::nearbyint(size * 0x1p24f));   // of the smallest step
    return sign | (((word + 0xfffu + (word >> 13 & 1)) >> 13) - (112u << 10));
}

inline unsigned round_tf32(float value) {
    const unsigned word = emulator::to_word(value);
    return std::isnan(value) ? 0x7fffffffu : (word + 0x1000u) & ~0x1fffu;
}

inline void mma_bf16(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    emulator::multiply_add<2>(sum, {a0, a1, a2, a3, b0, b1}, [](unsigned word, int p) {
        return emulator::to_float(p ? word & ~0xffffu : word << 16);
    });
}

inline void mma_fp16(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    emulator::multiply_add<2>(sum, {a0, a1, a2, a3, b0, b1}, [](unsigned word, int p) {
        return emulator::half_to_float(p ? word >> 16 : word & 0xffffu);
    });
}

inline void mma_tf32(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    emulator::multiply_add<1>(sum, {a0, a1, a2, a3, b0, b1}, [](unsigned word, int) {
        return emulator::to_float(word & ~0x1fffu);
    });
}

inline float __expf(float x) { return std::exp2(x * 1.4426950408889634f); }
inline float __fdividef(float x, float y) { return x / y; }
inline float computed_here(float value) { return value; }
