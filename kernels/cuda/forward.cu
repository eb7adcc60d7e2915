// A recurrent layer in one launch: all steps, with the recurrent weights on the chip. See block.cuh for the grid.
//
// T steps, B sequences, H units, G gates. Each step: wait for h of the step before; one product; the cell; give h on.
// h goes from block to block in the precision of the product; outputs and what stays with a thread are float32.
#include "exchange.cuh"

using Part = Block<GATES * UNITS, 0>;   // columns, in which the gates of a unit stand side by side
constexpr int CHUNK = Part::CHUNK, PER_THREAD = Part::PER_THREAD;

extern "C" __global__ void XPRNN_CLUSTER_DIMS __launch_bounds__(THREADS, 1) persistent_forward(
    float* z,                       // (T, B, G*H)   in: x weight_ih^T; out, if keep: the first G of what is kept
    float* kept_more,               // (T, B, H)     out, if keep: what a GRU keeps beyond its gates; else not used
    const float* weight_hh,         // (G*H, H)
    const float* bias_ih,           // (G*H), or null, as bias_hh
    const float* bias_hh,           // (G*H)
    const float* h0,                // (B, H)
    const float* c0,                // (B, H)        of cells that have a c, as cs
    float* hs,                      // (T + 1, B, H) out: all states; the initial one is at 0 or, in reverse, at T
    float* cs,                      // (T + 1, B, H) out: likewise
    const unsigned char* advance,   // (T, B) or null: 0 where a state is held
    const unsigned char* restart,   // (T, B) or null: 1 where a state is zero before the step
    unsigned* memory,               // (SLOTS, B, WORDS) scratch, without clusters; else not used, as arrivals
    int* arrivals,                  // (groups, APART) zeros
    int steps, int batch, int size, int group_rows, int reverse, int keep) {
    DYNAMIC_SHARED(shared);
    const Part block(shared, batch, size, group_rows);
    const int rows = block.rows, unit = block.unit;
    Exchange<Part> exchange(block, memory, arrivals);

    Part::Resident product;
    product.load(
        [&](int column, int k) {
            const int to = block.unit0 + column / GATES;
            return to < size && k < size ? weight_hh[(column % GATES * size + to) * size + k] : 0.0f;
        },
        block.rest);
    float b_x[GATES] = {}, b_y[GATES] = {};   // of the two halves; where only their sum counts, all in y
    if (bias_ih != nullptr && !block.idle) {
#pragma unroll
        for (int g = 0; g < GATES; ++g) {
            b_y[g] = bias_hh[g * size + unit];
            (g < Cell::SUMS ? b_y : b_x)[g] += bias_ih[g * size + unit];
        }
    }

    const auto time = [&](int k) { return reverse ? steps - 1 - k : k; };
    const int behind = reverse ? 0 : 1;   // from a step's number to that of the state after it

    exchange.clear(block, size);
    for (int row = block.row0; row < rows && !block.idle; row += ROW_STEP) {
        const int initial = reverse ? steps : 0;
        State state = {block.of_unit(h0, 0, row), Cell::HAS_C ? block.of_unit(c0, 0, row) : 0.0f};
        block.of_unit(hs, initial, row) = state.h;
        if (Cell::HAS_C) block.of_unit(cs, initial, row) = state.c;
        if (restart != nullptr && block.of_row(restart, time(0), row)) state = {0.0f, 0.0f};
        exchange.give_number(row, unit, state.h);
        block.keep(row, state);
    }
    exchange.arrive();

    for (int k = 0; k < steps; ++k) {
        const int t = time(k);
        exchange.turn();
        for (int chunk = 0; chunk < rows; chunk += CHUNK) {
            float x[PER_THREAD][GATES];
            int moves[PER_THREAD], ends[PER_THREAD];   // ends: it is zero for the next step
            // All that a chunk needs beside the product, asked for before it and used only afterwards: a thread waits
            // where it first does anything with what it asked for.
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0) continue;
#pragma unroll
                for (int g = 0; g < GATES; ++g) x[i][g] = block.of_gate(z, t, row, g);
                moves[i] = advance == nullptr ? 1 : block.of_row(advance, t, row);
                ends[i] = restart == nullptr || k + 1 == steps ? 0 : block.of_row(restart, time(k + 1), row);
            }
            if (chunk == 0) exchange.wait();
            float* sums = block.sums(chunk);
            product.multiply(exchange, chunk, rows - chunk, block.rest, sums);
            __syncthreads();
            State state[PER_THREAD];
            float kept[PER_THREAD][KEPT];
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0) continue;
                state[i] = block.state(row);
                if (moves[i]) {
                    float y[GATES];
#pragma unroll
                    for (int g = 0; g < GATES; ++g) {
                        if (g >= Cell::SUMS) x[i][g] += b_x[g];
                        y[g] = b_y[g];
                    }
                    block.add_sums<GATES>(y, sums, i);
                    state[i] = Cell::forward(x[i], y, state[i], kept[i]);
                }
                if (k + 1 < steps) exchange.give_number(row, unit, ends[i] ? 0.0f : state[i].h);
            }
            if (k + 1 < steps && chunk + CHUNK >= rows) exchange.arrive();
            // Nobody waits for the rest of what a step leaves.
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0) continue;
                block.keep(row, ends[i] ? State{0.0f, 0.0f} : state[i]);
                block.of_unit(hs, t + behind, row) = state[i].h;
                if (Cell::HAS_C) block.of_unit(cs, t + behind, row) = state[i].c;
                if (keep && moves[i]) {
#pragma unroll
                    for (int g = 0; g < GATES; ++g) block.of_gate(z, t, row, g) = kept[i][g];
                    if (KEPT > GATES) block.of_unit(kept_more, t, row) = kept[i][KEPT - 1];
                }
            }
        }
    }
}
