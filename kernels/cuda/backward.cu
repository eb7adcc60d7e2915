// The way back through a recurrent layer in one launch, with the recurrent weights on the chip. See block.cuh.
//
// Each step, from the last to the first: wait for the cotangents dy of the pre-activations of the step after; one
// product for what comes back through h; the cell; give dy on. The last step's is of zeros; one more gives that of h0.
// dy goes from block to block in the precision of the product; all else is float32.
#include "exchange.cuh"

using Part = Block<UNITS, KEPT>;
constexpr int CHUNK = Part::CHUNK, PER_THREAD = Part::PER_THREAD;

extern "C" __global__ void XPRNN_CLUSTER_DIMS __launch_bounds__(THREADS, 1) persistent_backward(
    const float* z,                 // (T, B, G*H)   what the way forward kept
    const float* kept_more,         // (T, B, H)     the same, of a GRU; else not used
    const float* weight_hh,         // (G*H, H)
    const float* hs,                // (T + 1, B, H) all states; the initial one is at 0 or, in reverse, at T
    const float* cs,                // (T + 1, B, H) likewise, of cells that have a c, as dcs and dc
    const float* dhs,               // (T, B, H) or null
    const float* dcs,               // (T, B, H) or null
    float* dh,                      // (B, H)        in: of the final state; out: of the initial state
    float* dc,                      // (B, H)        likewise
    float* dx,                      // (T, B, G*H)   out: of the input's half of the pre-activations
    float* dy,                      // (T, B, G*H)   out: of the other half, of a GRU; else not used, they are equal
    float* dbias,                   // (B, KEPT*H)   out, or null: sums over time of dx and, of a GRU, of dy for n
    const unsigned char* advance,   // (T, B) or null: 0 where a state was held
    const unsigned char* restart,   // (T, B) or null: 1 where a state was zero before the step
    unsigned* memory,               // (SLOTS, B, WORDS) scratch, without clusters; else not used, as arrivals
    int* arrivals,                  // (groups, APART) zeros
    int steps, int batch, int size, int group_rows, int reverse) {
    DYNAMIC_SHARED(shared);
    const Part block(shared, batch, size, group_rows);
    const int rows = block.rows, unit = block.unit;
    Exchange<Part> exchange(block, memory, arrivals);

    Part::Resident product;
    product.load(
        [&](int column, int k) {
            const int to = block.unit0 + column;
            return to < size && k < GATES * size ? weight_hh[k * size + to] : 0.0f;
        },
        block.rest);

    const int earlier = reverse ? 1 : 0, behind = 1 - earlier;   // from a step's time to the states around it

    exchange.clear(block, GATES * size);
    for (int row = block.row0; row < rows && !block.idle; row += ROW_STEP) {
        block.keep(row, {block.of_unit(dh, 0, row), Cell::HAS_C ? block.of_unit(dc, 0, row) : 0.0f});
#pragma unroll
        for (int g = 0; g < GATES; ++g) exchange.give_number(row, g * size + unit, 0.0f);
    }
    exchange.arrive();

    // Over time and this thread's rows; in shared memory, since no register is left for it.
    float* summed = block.summed();   // (KEPT, THREADS)
#pragma unroll
    for (int n = 0; n < KEPT; ++n) summed[n * THREADS] = 0.0f;

    for (int k = steps - 1; k >= -1; --k) {   // -1: before the first step
        const int t = reverse ? steps - 1 - k : k;
        exchange.turn();
        for (int chunk = 0; chunk < rows; chunk += CHUNK) {
            State old[PER_THREAD] = {}, now[PER_THREAD] = {}, given[PER_THREAD] = {};
            float kept[PER_THREAD][KEPT] = {};
            int moved[PER_THREAD] = {}, began[PER_THREAD] = {};
            // All that a chunk needs beside the product, asked for before it and used only afterwards: a thread waits
            // where it first does anything with what it asked for.
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0 || k < 0) continue;
                moved[i] = advance == nullptr ? 1 : block.of_row(advance, t, row);
                began[i] = restart == nullptr ? 0 : block.of_row(restart, t, row);
                given[i].h = dhs == nullptr ? 0.0f : block.of_unit(dhs, t, row);
                given[i].c = dcs == nullptr ? 0.0f : block.of_unit(dcs, t, row);
                old[i].h = Cell::HAS_C ? 0.0f : block.of_unit(hs, t + earlier, row);
                old[i].c = Cell::HAS_C ? block.of_unit(cs, t + earlier, row) : 0.0f;
                now[i] = {0.0f, Cell::HAS_C ? block.of_unit(cs, t + behind, row) : 0.0f};
#pragma unroll
                for (int g = 0; g < GATES; ++g) kept[i][g] = block.of_gate(z, t, row, g);
                if (KEPT > GATES) kept[i][KEPT - 1] = block.of_unit(kept_more, t, row);
            }
            if (chunk == 0) exchange.wait();
            float* sums = block.sums(chunk);
            product.multiply(exchange, chunk, rows - chunk, block.rest, sums);
            Cell::Slopes slopes[PER_THREAD];   // while the tensor cores still multiply; of rows that are none as well
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                slopes[i] = Cell::slopes(kept[i], began[i] ? State{0.0f, 0.0f} : old[i], now[i]);
            }
            __syncthreads();
            State d[PER_THREAD];
            float to_x[PER_THREAD][GATES] = {}, to_y[PER_THREAD][GATES] = {};
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0) continue;
                d[i] = block.state(row);
                block.add_sums<1>(&d[i].h, sums, i);
                if (k < 0) {
                    block.of_unit(dh, 0, row) = d[i].h;
                    if (Cell::HAS_C) block.of_unit(dc, 0, row) = d[i].c;
                    continue;
                }
                d[i].h += given[i].h;
                d[i].c += given[i].c;
                if (moved[i]) d[i] = Cell::backward(slopes[i], d[i], to_x[i], to_y[i]);
#pragma unroll
                for (int g = 0; g < GATES; ++g) {
                    exchange.give_number(row, g * size + unit, began[i] ? 0.0f : to_y[i][g]);
                }
            }
            if (k >= 0 && chunk + CHUNK >= rows) exchange.arrive();
            // Nobody waits for the rest of what a step leaves.
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, i);
                if (row < 0 || k < 0) continue;
                block.keep(row, began[i] ? State{0.0f, 0.0f} : d[i]);
#pragma unroll
                for (int g = 0; g < GATES; ++g) {
                    block.of_gate(dx, t, row, g) = to_x[i][g];
                    if (KEPT > GATES) block.of_gate(dy, t, row, g) = to_y[i][g];
                    summed[g * THREADS] += to_x[i][g];
                }
                if (KEPT > GATES) summed[(KEPT - 1) * THREADS] += to_y[i][GATES - 1];
            }
        }
    }
    if (dbias == nullptr) return;
    for (int row = block.row0; row < rows && !block.idle; row += ROW_STEP) {   // all in the first, to be added up later
        float* to = block.step(dbias, 0, KEPT * size) + row * KEPT * size + unit;
#pragma unroll
        for (int n = 0; n < KEPT; ++n) to[n * size] = row == block.row0 ? summed[n * THREADS] : 0.0f;
    }
}
