// The few things a GPU can do that CUDA C++ has no word for. On the CPU, cuda_emulator.h stands in for all of it.
#pragma once
#ifdef XPRNN_EMULATED
#include "cuda_emulator.h"
#else

#define DYNAMIC_SHARED(name) extern __shared__ uint4 name[]

// A word, or half of one, that threads of other blocks read by load_fresh, or in their own shared memory.
template <class Word> __device__ __forceinline__ void give(Word* address, Word value) { *address = value; }

// 16 bytes past the first cache, which may hold what they were a step ago.
__device__ __forceinline__ uint4 load_fresh(const uint4* address) { return __ldcg(address); }

// 16 bytes of this block's own shared memory.
__device__ __forceinline__ uint4 load_shared(const uint4* address) { return *address; }

// A word that threads of other blocks look for. It comes whole, but in no order with others. Words that are given so
// must never be given or read in halves.
__device__ __forceinline__ void give_word(unsigned* address, unsigned value) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(value));
}

// Four such words; each may be older or newer than the others.
__device__ __forceinline__ uint4 look_for(const uint4* address) {
    uint4 found;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found.x), "=r"(found.y), "=r"(found.z), "=r"(found.w)
                 : "l"(address));
    return found;
}

// Of the other lane of each two; the rest of the warp need not be there.
__device__ __forceinline__ unsigned from_neighbour(unsigned word) {
    return __shfl_xor_sync(3u << (threadIdx.x & 30u), word, 1);
}

// Whether it is so in any lane of the warp.
__device__ __forceinline__ bool any_lane(bool here) { return __any_sync(0xffffffffu, here); }

#if XPRNN_CLUSTER > 1
// Where another block of the cluster has what this one has at an address in its shared memory.
template <class Word> __device__ __forceinline__ Word* in_block(Word* address, int block) {
    unsigned long long there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(address), "r"(block));
    return reinterpret_cast<Word*>(there);
}

// All threads of a cluster meet, in two halves as in barrier.cuh: what one wrote before it arrived all see who waited.
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
#else
// A block alone, which needs no device that has clusters.
template <class Word> __device__ __forceinline__ Word* in_block(Word* address, int) { return address; }
__device__ __forceinline__ void cluster_arrive() {}
__device__ __forceinline__ void cluster_wait() { __syncthreads(); }
#endif

// Add 1 to a counter; whoever sees the new value sees all that this block wrote before a __syncthreads() before it. It
// is inc, which has a largest value, because for an add the assembler first counts the lanes that are there.
__device__ __forceinline__ void release_increment(int* counter) {
    asm volatile("red.release.gpu.global.inc.u32 [%0], %1;" ::"l"(counter), "r"(0x7fffffff) : "memory");
}

__device__ __forceinline__ int load_acquire(const int* counter) {
    int value;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

__device__ __forceinline__ float exchange_lanes(float value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

// The nearest bfloat16, ties to even, in the low half.
__device__ __forceinline__ unsigned round_bf16(float value) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(value));
    return pair & 0xffffu;
}

// The nearest float16, ties to even, in the low half. What is too large for it, or infinite, becomes NaN: an infinity
// would end in a gate, as a plain 0 or 1.
__device__ __forceinline__ unsigned round_fp16(float value) {
    unsigned pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(value));
    return (pair & 0x7fffu) == 0x7c00u ? 0x7fffu : pair & 0xffffu;
}

// The nearest float with 10 bits of mantissa, ties away from zero.
__device__ __forceinline__ unsigned round_tf32(float value) {
    unsigned word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
    return word;
}

// sum (16, 8) += a (16, K) b (K, 8), with K = 16 bfloat16 or float16, or 8 TF32 values, in words of 32 bits; a warp's
// lanes hold the fragments as the PTX manual draws them for mma.m16n8k16 and mma.m16n8k8.
#define XPRNN_MMA(name, shape)                                                                                   \
    __device__ __forceinline__ void name(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3,         \
                                         unsigned b0, unsigned b1) {                                             \
        asm("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"          \
                     : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                    \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                                    \
    }
XPRNN_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
XPRNN_MMA(mma_fp16, "m16n8k16.row.col.f32.f16.f16.f32")
XPRNN_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef XPRNN_MMA

// The same value. Without it the compiler puts what the value is made of where it is used, which may be after a wait.
__device__ __forceinline__ float computed_here(float value) {
    asm volatile("" : "+f"(value));
    return value;
}

#endif
