// A barrier among the blocks of one group, cut in two so that work which nobody waits for fits in between.
#pragma once
#include "device.cuh"

// All blocks must be on the device at once, or this waits for ever: launch cooperatively. The counter starts at 0.
struct GroupBarrier {
    int* counter;
    int blocks;
    int awaited = 0;

    __device__ GroupBarrier(int* counter, int blocks) : counter(counter), blocks(blocks) {}

    // What this block wrote so far becomes visible to all that wait for it.
    __device__ void arrive() {
        __syncthreads();
        awaited += blocks;
        if (threadIdx.x == 0 && blocks > 1) release_add(counter, 1);
    }

    __device__ void wait() {
        if (threadIdx.x == 0 && blocks > 1) {
            while (load_acquire(counter) < awaited) {
            }
        }
        __syncthreads();
    }
};
