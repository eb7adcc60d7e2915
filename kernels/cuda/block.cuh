// What the forward and the backward kernel have in common: which part of a layer a block and each thread have.
//
// A grid is (1, hidden slices, batch groups): CuPy launches fewer blocks than asked for, and only warns, where the second
// and the third are 1. A block runs the units unit0 to unit0 + UNITS of the sequences of its group
// through all steps, and meets the other blocks of its group, and only those, after each. The compiler is told
//
//     XPRNN_CELL     Lstm or Gru                  XPRNN_INNER   inner indices of the product, with zeros to fill up
//     XPRNN_NUMBER   Float32, Tf32, Bf16, Fp16    XPRNN_WARPS   of a block
//     XPRNN_UNITS    of a block; a power of two   XPRNN_SIDES   of the product's columns, each of warps of its own
//     XPRNN_TILES    that a product takes at      XPRNN_HELD    spans of weights in registers
//                    once, of 16 rows each, or    XPRNN_CLUSTER blocks of a group, if they are a cluster; else 0, and
//                    in Float32 of one row                      they meet through memory
//     XPRNN_POLLS    whether there they look for numbers themselves, and not for a count of who is done
#pragma once
#include "barrier.cuh"
#include "cells.cuh"
#include "product.cuh"

using Cell = XPRNN_CELL;
using Number = XPRNN_NUMBER;
constexpr int UNITS = XPRNN_UNITS, INNER = XPRNN_INNER, TILES = XPRNN_TILES;
constexpr int WARPS = XPRNN_WARPS, SIDES = XPRNN_SIDES, HELD = XPRNN_HELD;
constexpr int GATES = Cell::GATES, KEPT = Cell::KEPT;
constexpr int WORDS = INNER / Number::PER_WORD;   // of a row in the exchange
constexpr int THREADS = 32 * WARPS;
constexpr int ROW_STEP = THREADS / UNITS;   // a thread has one unit, of every ROW_STEP-th sequence
static_assert(THREADS % UNITS == 0, "a thread's unit must not depend on the sequence");

// Of a kernel whose product has COLUMNS columns, and whose threads sum up SUMMED numbers each over time.
template <int COLUMNS, int SUMMED> struct Block {
    using Resident = Product<Number, COLUMNS, INNER, WARPS, SIDES, HELD, TILES>;
    static constexpr int CHUNK = Resident::ROWS;                           // rows that the product takes at once
    static constexpr int PER_THREAD = (CHUNK + ROW_STEP - 1) / ROW_STEP;   // and how many of them a thread has

    int batch, first, rows;   // sequences: all, where the group's begin, and the group's
    int group_rows;           // of all groups but the last
    int size, unit0, unit;    // units: all, the block's first, and the thread's
    bool idle;                // the unit is past the last
    int row0;                 // the thread's first row
    // In shared memory:
    uint4* rest;              // (REST, THREADS)
    float* partial;           // (2, SLICES, CHUNK, PARTIAL_STRIDE)
    float *h_here, *c_here;   // (group_rows, UNITS)
    unsigned* rows_here;      // what comes from the blocks of a cluster; begins where a vector may

    __device__ Block(uint4* shared, int batch, int size, int group_rows)
        : batch(batch),
          first(blockIdx.z * group_rows),
          rows(min(group_rows, batch - first)),
          group_rows(group_rows),
          size(size),
          unit0(blockIdx.y * UNITS),
          unit(unit0 + threadIdx.x % UNITS),
          idle(unit >= size),
          row0(threadIdx.x / UNITS),
          rest(shared),
          partial(reinterpret_cast<float*>(rest + Resident::REST * THREADS)),
          h_here(partial + 2 * Resident::PARTIALS),
          c_here(h_here + group_rows * UNITS),
          rows_here(reinterpret_cast<unsigned*>(c_here + group_rows * UNITS + SUMMED * THREADS)) {}

    // Which row of the group is this thread's i-th in the chunk of CHUNK rows that begins at `chunk`; -1 for none.
    __device__ __forceinline__ int row(int chunk, int i) const {
        const int in_chunk = row0 + i * ROW_STEP, row = chunk + in_chunk;
        return in_chunk < CHUNK && row < rows && !idle ? row : -1;
    }

    // Where the group's rows of one step begin in an array (T, B, width). From there 32 bits are enough: with more rows
    // their states would not fit into shared memory.
    template <class T> __device__ __forceinline__ T* step(T* array, int t, int width) const {
        return array + (static_cast<long long>(t) * batch + first) * width;
    }

    // What an array (T, B), (T, B, H) or (T, B, G*H) has for a row and this thread's unit.
    template <class T> __device__ __forceinline__ T& of_row(T* array, int t, int row) const {
        return step(array, t, 1)[row];
    }
    template <class T> __device__ __forceinline__ T& of_unit(T* array, int t, int row) const {
        return step(array, t, size)[row * size + unit];
    }
    template <class T> __device__ __forceinline__ T& of_gate(T* array, int t, int row, int gate) const {
        return step(array, t, GATES * size)[(row * GATES + gate) * size + unit];
    }

    // The state of a row, or its cotangent. Nobody else looks at what a thread keeps.
    __device__ __forceinline__ State state(int row) const {
        const int here = row * UNITS + threadIdx.x % UNITS;
        return {h_here[here], Cell::HAS_C ? c_here[here] : 0.0f};
    }
    __device__ __forceinline__ void keep(int row, State state) const {
        const int here = row * UNITS + threadIdx.x % UNITS;
        h_here[here] = state.h;
        if (Cell::HAS_C) c_here[here] = state.c;
    }

    // Which of the two partial sums a chunk writes. One would be overwritten while another warp still adds up the chunk
    // before. With two, who writes has waited for all warps after the chunk before, hence after what it overwrites.
    __device__ __forceinline__ float* sums(int chunk) const {
        return partial + chunk / CHUNK % 2 * Resident::PARTIALS;
    }

    // Where this thread sums up numbers; from one to the next are THREADS.
    __device__ __forceinline__ float* summed() const { return c_here + group_rows * UNITS + threadIdx.x; }

    // Add to y what all slices found for this thread's unit, which has COUNT columns, and its i-th row in the chunk.
    template <int COUNT> __device__ __forceinline__ void add_sums(float* y, const float* sums, int i) const {
#pragma unroll
        for (int slice = 0; slice < Resident::SLICES; ++slice) {
            const int from = Resident::partial_at(slice, row0 + i * ROW_STEP, threadIdx.x % UNITS * COUNT);
#pragma unroll
            for (int n = 0; n < COUNT; ++n) y[n] += sums[from + n];
        }
    }
};
