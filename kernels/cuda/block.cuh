// What the forward and the backward kernel have in common: which part of a layer a block and each thread have.
//
// A grid is (1, hidden slices, batch groups): CuPy launches fewer blocks than asked for, and only warns, where the second
// and the third are 1. A block runs the units unit0 to unit0 + UNITS of the sequences of its group
// through all steps, and meets the other blocks of its group, and only those, after each. The compiler is told
//
//     XPRNN_CELL     Lstm or Gru                  XPRNN_INNER   inner indices of the product, with zeros to fill up
//     XPRNN_NUMBER   Float32, Tf32, Bf16, Fp16    XPRNN_WARPS   of a block
//     XPRNN_UNITS    of a block; a power of two   XPRNN_HELD    spans of weights in registers
//     XPRNN_TILES    that a product takes at once, of 16 rows each, or in Float32 of one row
#pragma once
#include "barrier.cuh"
#include "cells.cuh"
#include "product.cuh"

using Cell = XPRNN_CELL;
using Number = XPRNN_NUMBER;
constexpr int UNITS = XPRNN_UNITS, INNER = XPRNN_INNER, WARPS = XPRNN_WARPS, HELD = XPRNN_HELD, TILES = XPRNN_TILES;
constexpr int GATES = Cell::GATES, KEPT = Cell::KEPT;
constexpr int WORDS = INNER / Number::PER_WORD;   // of a row in the exchange
constexpr int THREADS = 32 * WARPS;
constexpr int ROW_STEP = THREADS / UNITS;   // a thread has one unit, of every ROW_STEP-th sequence
static_assert(THREADS % UNITS == 0, "a thread's unit must not depend on the sequence");

// Of a kernel whose product has COLUMNS columns.
template <int COLUMNS> struct Block {
    using Resident = Product<Number, COLUMNS, INNER, WARPS, HELD, TILES>;
    static constexpr int CHUNK = Resident::ROWS;                           // rows that the product takes at once
    static constexpr int PER_THREAD = (CHUNK + ROW_STEP - 1) / ROW_STEP;   // and how many of them a thread has

    int batch, first, rows;   // sequences: all, where the group's begin, and the group's
    int size, unit0, unit;    // units: all, the block's first, and the thread's
    bool idle;                // the unit is past the last
    int row0;                 // the thread's first row
    // In shared memory:
    uint4* rest;              // (REST, THREADS)
    float* partial;           // (2, WARPS, CHUNK, PARTIAL_STRIDE)
    float *h_here, *c_here;   // (group_rows, UNITS)

    __device__ Block(uint4* shared, int batch, int size, int group_rows)
        : batch(batch),
          first(blockIdx.z * group_rows),
          rows(min(group_rows, batch - first)),
          size(size),
          unit0(blockIdx.y * UNITS),
          unit(unit0 + threadIdx.x % UNITS),
          idle(unit >= size),
          row0(threadIdx.x / UNITS),
          rest(shared),
          partial(reinterpret_cast<float*>(rest + Resident::REST * THREADS)),
          h_here(partial + 2 * Resident::PARTIALS),
          c_here(h_here + group_rows * UNITS) {}

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

    // Add to y what all warps found for this thread's unit, which has COUNT columns, and its i-th row in the chunk.
    template <int COUNT> __device__ __forceinline__ void add_sums(float* y, const float* sums, int i) const {
#pragma unroll
        for (int warp = 0; warp < WARPS; ++warp) {
            const int from = Resident::partial_at(warp, row0 + i * ROW_STEP, threadIdx.x % UNITS * COUNT);
#pragma unroll
            for (int n = 0; n < COUNT; ++n) y[n] += sums[from + n];
        }
    }

    // Zeros behind the last inner index, in both halves of what the blocks exchange: (2, B, INNER).
    __device__ __forceinline__ void clear_padding(unsigned* exchange, int used) const {
        const int padding = INNER - used;
        for (int i = blockIdx.y * THREADS + threadIdx.x; i < 2 * rows * padding; i += gridDim.y * THREADS) {
            const int row = i / padding;
            Number::store(step(exchange, row / rows, WORDS) + row % rows * WORDS, used + i % padding, 0.0f);
        }
    }
};
