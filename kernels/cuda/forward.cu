// A recurrent layer in one launch: all steps, with the recurrent weights on the chip. See block.cuh for the grid.
//
// T steps, B sequences, H units, G gates. Each step: wait for h of the step before; one product; the cell; give h on.
// h goes from block to block in the precision of the product; outputs and what stays with a thread are float32.
#include "block.cuh"

using Resident = Product<Number, Cell::GATES * UNITS, INNER, WARPS, HELD, TILES>;
constexpr int GATES = Cell::GATES, KEPT = Cell::KEPT, CHUNK = Resident::ROWS;
constexpr int PER_THREAD = (CHUNK + ROW_STEP - 1) / ROW_STEP;   // rows of a chunk

extern "C" __global__ void __launch_bounds__(THREADS, 1) persistent_forward(
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
    unsigned* exchange,             // (2, B, INNER) scratch
    int* arrivals,                  // (groups)      zeros
    int steps, int batch, int size, int group_rows, int reverse, int keep) {
    DYNAMIC_SHARED(shared);
    uint4* rest = shared;                                                       // (REST, THREADS)
    float* partial = reinterpret_cast<float*>(rest + Resident::REST * THREADS);   // (2, WARPS, CHUNK, PARTIAL_STRIDE)
    float* h_here = partial + 2 * Resident::PARTIALS;                             // (group_rows, UNITS), as c_here
    float* c_here = h_here + group_rows * UNITS;

    constexpr int WORDS = INNER / Number::PER_WORD;
    const Block block(batch, size, group_rows);
    const int first = block.first, rows = block.rows, unit = block.unit;
    GroupBarrier barrier(arrivals + blockIdx.y, gridDim.x);

    Resident product;
    product.load(
        [&](int column, int k) {
            const int row = blockIdx.x * UNITS + column % UNITS;
            return row < size && k < size ? weight_hh[(column / UNITS * size + row) * size + k] : 0.0f;
        },
        rest);
    float b_ih[GATES] = {}, b_hh[GATES] = {};
    if (bias_ih != nullptr && !block.idle) {
#pragma unroll
        for (int g = 0; g < GATES; ++g) {
            b_ih[g] = bias_ih[g * size + unit];
            b_hh[g] = bias_hh[g * size + unit];
        }
    }

    // Where one step's (B, ...) begins, and one sequence in it.
    const auto at = [&](int t, int row) { return static_cast<long long>(t) * batch + first + row; };
    const auto time = [&](int k) { return reverse ? steps - 1 - k : k; };
    const int behind = reverse ? 0 : 1;   // from a step's number to that of the state after it

    for (int row = block.row0; row < rows && !block.idle; row += ROW_STEP) {
        const long long from = at(0, row) * size + unit, to = at(reverse ? steps : 0, row) * size + unit;
        const int here = row * UNITS + threadIdx.x % UNITS;
        const bool zero = restart != nullptr && restart[at(time(0), row)];
        h_here[here] = hs[to] = h0[from];
        if (Cell::HAS_C) c_here[here] = cs[to] = c0[from];
        Number::store(exchange + at(0, row) * WORDS, unit, zero ? 0.0f : h0[from]);
    }
    clear_padding(exchange, batch, first, rows, size);
    barrier.arrive();

    for (int k = 0; k < steps; ++k) {
        const int t = time(k);
        const unsigned* before = exchange + at(k % 2, 0) * WORDS;
        unsigned* after = exchange + at((k + 1) % 2, 0) * WORDS;

        float x[PER_THREAD][GATES];
        unsigned char moves[PER_THREAD], begins[PER_THREAD], begins_next[PER_THREAD];
        // All that a chunk needs from outside, asked for before the product. It is used only afterwards: a thread waits
        // where it first does anything with what it asked for.
        const auto fetch = [&](int chunk) {
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0) continue;
#pragma unroll
                for (int g = 0; g < GATES; ++g) x[i][g] = z[(at(t, row) * GATES + g) * size + unit];
                moves[i] = advance == nullptr ? 1 : advance[at(t, row)];
                begins[i] = restart == nullptr ? 0 : restart[at(t, row)];
                begins_next[i] = restart == nullptr || k + 1 == steps ? 0 : restart[at(time(k + 1), row)];
            }
        };
        fetch(0);
        barrier.wait();
        for (int chunk = 0, side = 0; chunk < rows; chunk += CHUNK, side ^= 1) {
            float* sums = partial + side * Resident::PARTIALS;   // two, so that one wait a chunk is enough
            product.multiply(reinterpret_cast<const uint4*>(before + chunk * WORDS), rows - chunk, rest, sums);
            __syncthreads();
            State state[PER_THREAD];
            float kept[PER_THREAD][KEPT];
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0) continue;
                const int here = row * UNITS + threadIdx.x % UNITS;
                state[i] = {h_here[here], Cell::HAS_C ? c_here[here] : 0.0f};
                if (begins[i]) state[i] = {0.0f, 0.0f};
                if (moves[i]) {
                    float y[GATES];
#pragma unroll
                    for (int g = 0; g < GATES; ++g) {
                        x[i][g] += b_ih[g];
                        y[g] = b_hh[g];
#pragma unroll
                        for (int warp = 0; warp < WARPS; ++warp) {
                            y[g] += sums[Resident::partial_at(warp, row - chunk, g * UNITS + threadIdx.x % UNITS)];
                        }
                    }
                    state[i] = Cell::forward(x[i], y, state[i], kept[i]);
                }
                if (k + 1 < steps) Number::store(after + row * WORDS, unit, begins_next[i] ? 0.0f : state[i].h);
                h_here[here] = state[i].h;
                if (Cell::HAS_C) c_here[here] = state[i].c;
            }
            // Nobody waits for the rest of what a step leaves.
            if (k + 1 < steps && chunk + CHUNK >= rows) barrier.arrive();
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0) continue;
                hs[at(t + behind, row) * size + unit] = state[i].h;
                if (Cell::HAS_C) cs[at(t + behind, row) * size + unit] = state[i].c;
                if (keep && moves[i]) {
#pragma unroll
                    for (int g = 0; g < GATES; ++g) z[(at(t, row) * GATES + g) * size + unit] = kept[i][g];
                    if (KEPT > GATES) kept_more[at(t, row) * size + unit] = kept[i][KEPT - 1];
                }
            }
            if (chunk + CHUNK < rows) fetch(chunk + CHUNK);
        }
    }
}
