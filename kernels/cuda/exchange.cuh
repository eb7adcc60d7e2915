// How the blocks of one group give each other rows of numbers between steps.
//
// A block clears what it needs, gives what it starts from, and arrives. Each step turns to what was given, waits,
// loads, gives what the next step needs, and arrives.
#pragma once
#include "block.cuh"

// Two halves, of rows that are STRIDE words apart: rows are read from one while those of the next step are given into
// the other, and turn() makes the one the other. Who gives has waited for all who read, a step ago, what was there.
template <int STRIDE> struct TwoHalves {
    static constexpr bool POLLS = false;

    unsigned* read;   // kept and not computed, so that the address is there when a wait ends
    int across;       // from there to the other half

    // Zeros behind the last inner index of all rows, in both halves; among threads first, first + step, ...
    __device__ void clear_padding(int rows, int used, int first, int step) const {
        const int padding = INNER - used;
        for (int i = first; i < 2 * rows * padding; i += step) {
            const int row = i / padding;
            Number::store(read + row / rows * across + row % rows * STRIDE, used + i % padding, 0.0f);
        }
    }

    __device__ __forceinline__ const uint4* rows(int first) const {
        return reinterpret_cast<const uint4*>(read + first * STRIDE);
    }

    __device__ __forceinline__ void turn() {
        read += across;
        across = -across;
    }
};

// Through memory, in the cache that all blocks share.
template <class Part> struct ThroughMemory : TwoHalves<WORDS> {
    static constexpr int STRIDE = WORDS;   // words from one row to the next

    GroupBarrier barrier;

    // memory: (2, B, WORDS) scratch. arrivals: (groups, APART) zeros.
    __device__ ThroughMemory(const Part& block, unsigned* memory, int* arrivals)
        : TwoHalves<WORDS>{block.step(memory, 1, WORDS), -block.batch * WORDS},
          barrier(arrivals + blockIdx.z * APART, gridDim.y) {}

    __device__ __forceinline__ void give_number(int row, int k, float value) const {
        Number::store(this->read + this->across + row * STRIDE, k, value);
    }
    __device__ void clear(const Part& block, int used) const {   // all blocks of the group together
        this->clear_padding(block.rows, used, blockIdx.y * THREADS + threadIdx.x, gridDim.y * THREADS);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_fresh(address); }

    __device__ __forceinline__ void arrive() { barrier.arrive(); }
    __device__ __forceinline__ void wait() { barrier.wait(); }
};

#if XPRNN_POLLS
// Through memory, where a number itself says that it has come: who reads looks until no word is ABSENT, so that between
// giving and having there is no barrier, no fence and no count. All of a number's word is written at once, by one lane.
//
// The rows of step n are in slot n of SLOTS, which are as many as four epochs of EPOCH steps. Who gives a word of step
// n + 1 makes the one half of all slots away from that of step n ABSENT, long before it is needed. A barrier at the end
// of each epoch, for which a block does not wait until another epoch is over, sees to it that a reader finds what was
// given or ABSENT, but never what was there before, and that nothing is made ABSENT that is still read. Let epoch m be
// of the steps from (m - 1)E - 1 to mE - 2, and epoch 0 what is before all. In epoch m
//     those slots are made ABSENT that were read in epoch m - 2: all blocks have said at its end that they have read
//         them, and a block waits for that before it begins epoch m;
//     what is made ABSENT is read next in epoch m + 2, before which a block waits for what was said at the end of m.
// A word is given by the thread that made it ABSENT, or after the barrier of the beginning. So each of its values is
// there in the order in which it was written, by program order or by a barrier: nothing depends on how long anything
// takes. Epochs take turns with two counters: who counts for an epoch has seen all count for the last one but one.
//
// Words are relaxed: of each alone, no reader sees half of it or goes back to what it was, and that is all that is
// asked of them; a load of four words is four loads, in any order.
constexpr int EPOCH = 4, SLOTS = 4 * EPOCH;
constexpr unsigned ABSENT = 0xffffffffu, NAN_WORD = 0x7fffffffu;   // both are NaN, or two of them; one is never given

template <class Part> struct ByPolling {
    static constexpr int STRIDE = WORDS;
    static constexpr bool POLLS = true;

    unsigned* slots;
    int* arrivals;
    int apart, now = -1;   // words from slot to slot; the step

    // memory: (SLOTS, B, WORDS) scratch. arrivals: (groups, APART) zeros.
    __device__ ByPolling(const Part& block, unsigned* memory, int* arrivals)
        : slots(block.step(memory, 0, WORDS)),
          arrivals(arrivals + blockIdx.z * APART),
          apart(block.batch * WORDS) {}

    __device__ __forceinline__ unsigned* slot(unsigned step) const { return slots + step % SLOTS * apart; }
    __device__ __forceinline__ void turn() { ++now; }

    // All slots, before anything is given: zeros behind the last inner index, and ABSENT elsewhere.
    __device__ void clear(const Part& block, int used) const {   // all blocks of the group together
        const int words = block.rows * WORDS, threads = gridDim.y * THREADS;
        for (int i = blockIdx.y * THREADS + threadIdx.x; i < SLOTS * words; i += threads) {
            const bool padding = i % WORDS * Number::PER_WORD >= used;
            give_word(slot(i / words) + i % words, padding ? 0u : ABSENT);
        }
        end(0);
        wait_for_end(0);
    }

    // Of two numbers in a word both lanes come here, which are neighbours: the size is even.
    __device__ __forceinline__ void give_number(int row, int k, float value) const {
        unsigned word = Number::round(value);
        if (Number::PER_WORD == 2) {
            word |= from_neighbour(word) << 16;
            if (k % 2) return;
        }
        const int at = row * STRIDE + k / Number::PER_WORD;
        give_word(slot(now + 1) + at, word == ABSENT ? NAN_WORD : word);
        give_word(slot(now + SLOTS / 2) + at, ABSENT);
    }

    __device__ __forceinline__ const uint4* rows(int first) const {
        return reinterpret_cast<const uint4*>(slot(now) + first * STRIDE);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return look_for(address); }
    static __device__ __forceinline__ bool lacks(uint4 found) {
        return found.x == ABSENT || found.y == ABSENT || found.z == ABSENT || found.w == ABSENT;
    }

    // Even without a barrier no thread runs ahead of its block, whose sums others still add up.
    __device__ __forceinline__ void arrive() const {
        if ((now + 2) % EPOCH == 0) {
            end((now + 2) / EPOCH);
        } else {
            __syncthreads();
        }
    }
    __device__ __forceinline__ void wait() const {
        if ((now + 1) % EPOCH == 0) wait_for_end((now + 1) / EPOCH - 1);
    }

    // As in barrier.cuh, of epochs that are counted from 1 on; 0 is before them.
    __device__ __forceinline__ void end(int epoch) const {
        __syncthreads();
        if (threadIdx.x == THREADS - 1) release_increment(arrivals + epoch % 2);
    }
    __device__ __forceinline__ void wait_for_end(int epoch) const {
        if (threadIdx.x == THREADS - 1) {
            while (load_acquire(arrivals + epoch % 2) < (epoch / 2 + 1) * static_cast<int>(gridDim.y)) {
            }
        }
        __syncthreads();
    }
};
#endif

#if XPRNN_CLUSTER
// 64 bytes modulo 128, so that the two rows which a quarter of a warp reads at once fall into different banks.
constexpr int CLUSTER_STRIDE = WORDS + (32 - WORDS % 32 + 16) % 32;

// In a cluster, whose blocks write into each other's shared memory and have a barrier of their own: all that a block
// reads is its own. Nothing but the cluster must be on the device at once.
template <class Part> struct InCluster : TwoHalves<CLUSTER_STRIDE> {
    static constexpr int STRIDE = CLUSTER_STRIDE;

    // The halves are (2, group_rows, STRIDE) in shared memory.
    __device__ InCluster(const Part& block, unsigned*, int*)
        : TwoHalves<STRIDE>{block.rows_here + block.group_rows * STRIDE, -block.group_rows * STRIDE} {
        cluster_arrive();   // before anybody writes to a block, that block must have begun
        cluster_wait();
    }

    __device__ __forceinline__ void give_number(int row, int k, float value) const {
        unsigned* const here = this->read + this->across + row * STRIDE;
#pragma unroll
        for (int to = 0; to < XPRNN_CLUSTER; ++to) Number::store(in_block(here, to), k, value);
    }
    __device__ void clear(const Part& block, int used) const {   // every block has rows of its own
        this->clear_padding(block.rows, used, threadIdx.x, THREADS);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_shared(address); }

    __device__ __forceinline__ void arrive() { cluster_arrive(); }
    __device__ __forceinline__ void wait() { cluster_wait(); }
};
template <class Part> using Exchange = InCluster<Part>;
#if XPRNN_CLUSTER > 1
#define XPRNN_CLUSTER_DIMS __cluster_dims__(1, XPRNN_CLUSTER, 1)
#else
#define XPRNN_CLUSTER_DIMS
#endif
#else
#if XPRNN_POLLS
template <class Part> using Exchange = ByPolling<Part>;
#else
template <class Part> using Exchange = ThroughMemory<Part>;
#endif
#define XPRNN_CLUSTER_DIMS
#endif
