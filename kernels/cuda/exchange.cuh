// How the blocks of one group give each other rows of numbers between steps.
//
// There are two halves: rows are read from one while those of the next step are given into the other, and turn() makes
// the one the other. Who gives has waited for all who read, a step ago, what was there.
#pragma once
#include "block.cuh"

// Through memory, in the cache that all blocks share.
template <class Part> struct ThroughMemory {
    static constexpr int STRIDE = WORDS;   // words from one row to the next

    GroupBarrier barrier;
    unsigned* read;   // kept and not computed, so that the address is there when a wait ends
    int across;       // from there to the other half

    // memory: (2, B, WORDS) scratch. arrivals: (groups, APART) zeros.
    __device__ ThroughMemory(const Part& block, unsigned* memory, int* arrivals)
        : barrier(arrivals + blockIdx.z * APART, gridDim.y),
          read(block.step(memory, 1, WORDS)),
          across(-block.batch * WORDS) {}

    __device__ __forceinline__ void give_number(int row, int k, float value) const {
        Number::store(read + across + row * WORDS, k, value);
    }

    // Zeros behind the last inner index, in both halves.
    __device__ void clear_padding(const Part& block, int used) const {
        const int padding = INNER - used;
        for (int i = blockIdx.y * THREADS + threadIdx.x; i < 2 * block.rows * padding; i += gridDim.y * THREADS) {
            const int row = i / padding;
            Number::store(read + row / block.rows * across + row % block.rows * WORDS, used + i % padding, 0.0f);
        }
    }

    __device__ __forceinline__ const uint4* rows(int first) const {
        return reinterpret_cast<const uint4*>(read + first * WORDS);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_fresh(address); }

    __device__ __forceinline__ void turn() {
        read += across;
        across = -across;
    }
    __device__ __forceinline__ void arrive() { barrier.arrive(); }
    __device__ __forceinline__ void wait() { barrier.wait(); }
};

#if XPRNN_CLUSTER
// In a cluster, whose blocks write into each other's shared memory and have a barrier of their own: all that a block
// reads is its own. Nothing but the cluster must be on the device at once.
template <class Part> struct InCluster {
    // 64 bytes modulo 128, so that the two rows which a quarter of a warp reads at once fall into different banks.
    static constexpr int STRIDE = WORDS + (32 - WORDS % 32 + 16) % 32;

    unsigned* read;   // of (2, group_rows, STRIDE) in shared memory
    int across;

    __device__ InCluster(const Part& block, unsigned*, int*)
        : read(block.rows_here + block.group_rows * STRIDE), across(-block.group_rows * STRIDE) {
        cluster_arrive();   // before anybody writes to a block, that block must have begun
        cluster_wait();
    }

    __device__ __forceinline__ void give_number(int row, int k, float value) const {
#pragma unroll
        for (int to = 0; to < XPRNN_CLUSTER; ++to) Number::store(in_block(read + across + row * STRIDE, to), k, value);
    }

    // As above; every block has rows of its own.
    __device__ void clear_padding(const Part& block, int used) const {
        const int padding = INNER - used;
        for (int i = threadIdx.x; i < 2 * block.rows * padding; i += THREADS) {
            const int row = i / padding;
            Number::store(read + row / block.rows * across + row % block.rows * STRIDE, used + i % padding, 0.0f);
        }
    }

    __device__ __forceinline__ const uint4* rows(int first) const {
        return reinterpret_cast<const uint4*>(read + first * STRIDE);
    }
    static __device__ __forceinline__ uint4 load(const uint4* address) { return load_shared(address); }

    __device__ __forceinline__ void turn() {
        read += across;
        across = -across;
    }
    __device__ __forceinline__ void arrive() { cluster_arrive(); }
    __device__ __forceinline__ void wait() { cluster_wait(); }
};
template <class Part> using Exchange = InCluster<Part>;
#define XPRNN_CLUSTER_DIMS __cluster_dims__(1, XPRNN_CLUSTER, 1)
#else
template <class Part> using Exchange = ThroughMemory<Part>;
#define XPRNN_CLUSTER_DIMS
#endif
