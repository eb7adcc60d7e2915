// A barrier among the blocks of one group, cut in two so that work which nobody waits for fits in between.
//
// Why a block finds after wait() what others wrote before arrive(): there __syncthreads() puts what all threads wrote
// before the one that speaks, and its release puts that before its increment. Each increment reads the one before, so
// who acquires the last one acquires them all, and the __syncthreads() of wait() gives that to all of its threads.
// For the same reasons nobody, after wait(), overwrites what another still reads: that one has not arrived.
#pragma once
#include "device.cuh"

// Counters of two groups in one line of a cache would make the groups wait for each other.
constexpr int APART = 32;   // ints

// All blocks must be on the device at once, or this waits for ever: launch cooperatively. The counter starts at 0.
struct GroupBarrier {
    int* counter;
    int blocks;
    bool speaks;   // for its block: a thread of the last warp, which has no part of the cell where there are few rows
    int awaited = 0;

    __device__ GroupBarrier(int* counter, int blocks)
        : counter(counter), blocks(blocks), speaks(blocks > 1 && threadIdx.x == blockDim.x - 1) {}

    // What this block wrote so far becomes visible to all that wait for it.
    __device__ void arrive() {
        __syncthreads();
        awaited += blocks;
        if (speaks) release_increment(counter);
    }

    __device__ void wait() {
        if (speaks) {
            while (load_acquire(counter) < awaited) {
            }
        }
        __syncthreads();
    }
};
