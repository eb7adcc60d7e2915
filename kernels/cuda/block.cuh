// What the forward and the backward kernel have in common: which part of a layer a block and each thread have.
//
// A grid is (hidden slices, batch groups). A block runs the units unit0 to unit0 + UNITS of the sequences of its group
// through all steps, and meets the other blocks of its group, and only those, after each. The compiler is told
//
//     XPRNN_CELL     Lstm or Gru                  XPRNN_INNER   inner indices of the product, with zeros to fill up
//     XPRNN_NUMBER   Float32, Tf32 or Bf16        XPRNN_WARPS   of a block
//     XPRNN_UNITS    of a block; a power of two   XPRNN_HELD    spans of weights in registers
//     XPRNN_TILES    that a product takes at once, of 16 rows each, or in Float32 of one row
#pragma once
#include "barrier.cuh"
#include "cells.cuh"
#include "product.cuh"

using Cell = XPRNN_CELL;
using Number = XPRNN_NUMBER;
constexpr int UNITS = XPRNN_UNITS, INNER = XPRNN_INNER, WARPS = XPRNN_WARPS, HELD = XPRNN_HELD, TILES = XPRNN_TILES;
constexpr int THREADS = 32 * WARPS;
constexpr int ROW_STEP = THREADS / UNITS;   // a thread has one unit, of every ROW_STEP-th sequence
static_assert(THREADS % UNITS == 0, "a thread's unit must not depend on the sequence");

struct Block {
    int first, rows;    // sequences of the group
    int unit, row0;     // the thread's unit, and its first row
    bool idle;          // the unit is past the last

    __device__ Block(int batch, int size, int group_rows)
        : first(blockIdx.y * group_rows),
          rows(min(group_rows, batch - first)),
          unit(blockIdx.x * UNITS + threadIdx.x % UNITS),
          row0(threadIdx.x / UNITS),
          idle(unit >= size) {}

    // Which row of the group is this thread's i-th in the chunk of `chunk_rows` that begins at `chunk`; -1 for none.
    __device__ __forceinline__ int row(int chunk, int chunk_rows, int i) const {
        const int in_chunk = row0 + i * ROW_STEP, row = chunk + in_chunk;
        return in_chunk < chunk_rows && row < rows && !idle ? row : -1;
    }
};

// Zeros behind the last inner index, in both halves of what the blocks exchange: (2, B, INNER).
__device__ __forceinline__ void clear_padding(unsigned* exchange, int batch, int first, int rows, int used) {
    constexpr int WORDS = INNER / Number::PER_WORD;
    const int padding = INNER - used;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < 2 * rows * padding; i += gridDim.x * THREADS) {
        const int row = i / padding, half = row / rows;
        Number::store(exchange + (static_cast<long long>(half) * batch + first + row % rows) * WORDS,
                      used + i % padding, 0.0f);
    }
}
