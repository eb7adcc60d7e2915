// How the blocks of one group give each other rows of numbers between steps.
//
// There are two halves: rows are read from one while those of the next step are given into the other, and turn() makes
// the one the other. Who gives has waited for all who read, a step ago, what was there.
#pragma once
#include "block.cuh"

// The halves, of rows that are STRIDE words apart.
template <int STRIDE> struct TwoHalves {
    unsigned* read;   // kept and not computed, so that the address is there when a wait ends
    int across;       // from there to the other half

    // Zeros behind the last inner index of all rows, in both halves; among threads first, first + step, ...
    __device__ void clear(int rows, int used, int first, int step) const {
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
    __device__ void clear_padding(const Part& block, int used) const {   // all blocks of the group together
        this->clear(block.rows, used, blockIdx.y * THREADS + threadIdx.x, gridDim.y * THREADS);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_fresh(address); }

    __device__ __forceinline__ void arrive() { barrier.arrive(); }
    __device__ __forceinline__ void wait() { barrier.wait(); }
};

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
    __device__ void clear_padding(const Part& block, int used) const {   // every block has rows of its own
        this->clear(block.rows, used, threadIdx.x, THREADS);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_shared(address); }

    __device__ __forceinline__ void arrive() { cluster_arrive(); }
    __device__ __forceinline__ void wait() { cluster_wait(); }
};
template <class Part> using Exchange = InCluster<Part>;
#define XPRNN_CLUSTER_DIMS __cluster_dims__(1, XPRNN_CLUSTER, 1)
#else
template <class Part> using Exchange = ThroughMemory<Part>;
#define XPRNN_CLUSTER_DIMS
#endif
