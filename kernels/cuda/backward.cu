// The way back through a recurrent layer in one launch, with the recurrent weights on the chip. See block.cuh.
//
// Each step, from the last to the first: wait for the cotangents dy of the pre-activations of the step after; one
// product for what comes back through h; the cell; give dy on. One more product gives the cotangent of h0.
// dy goes from block to block in the precision of the product; all else is float32.
#include "block.cuh"

using Resident = Product<Number, UNITS, INNER, WARPS, HELD, TILES>;
constexpr int GATES = Cell::GATES, KEPT = Cell::KEPT, CHUNK = Resident::ROWS;
constexpr int PER_THREAD = (CHUNK + ROW_STEP - 1) / ROW_STEP;   // rows of a chunk

extern "C" __global__ void __launch_bounds__(THREADS, 1) persistent_backward(
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
    const unsigned char* advance,   // (T, B) or null: 0 where a state was held
    const unsigned char* restart,   // (T, B) or null: 1 where a state was zero before the step
    unsigned* exchange,             // (2, B, INNER) scratch
    int* arrivals,                  // (groups)      zeros
    int steps, int batch, int size, int group_rows, int reverse) {
    DYNAMIC_SHARED(shared);
    uint4* rest = shared;                                                       // (REST, THREADS)
    float* partial = reinterpret_cast<float*>(rest + Resident::REST * THREADS);   // (2, WARPS, CHUNK, PARTIAL_STRIDE)
    float* dh_here = partial + 2 * Resident::PARTIALS;                            // (group_rows, UNITS), as dc_here
    float* dc_here = dh_here + group_rows * UNITS;

    constexpr int WORDS = INNER / Number::PER_WORD;
    const Block block(batch, size, group_rows);
    const int first = block.first, rows = block.rows, unit = block.unit;
    GroupBarrier barrier(arrivals + blockIdx.y, gridDim.x);

    Resident product;
    product.load(
        [&](int column, int k) {
            const int to = blockIdx.x * UNITS + column;
            return to < size && k < GATES * size ? weight_hh[k * size + to] : 0.0f;
        },
        rest);

    const auto at = [&](int t, int row) { return static_cast<long long>(t) * batch + first + row; };
    const auto time = [&](int k) { return reverse ? steps - 1 - k : k; };

    for (int row = block.row0; row < rows && !block.idle; row += ROW_STEP) {
        const int here = row * UNITS + threadIdx.x % UNITS;
        dh_here[here] = dh[at(0, row) * size + unit];
        if (Cell::HAS_C) dc_here[here] = dc[at(0, row) * size + unit];
    }
    clear_padding(exchange, batch, first, rows, GATES * size);
    __syncthreads();

    for (int k = steps - 1; k >= -1; --k) {   // -1: what is before the first step
        const int t = time(k);
        const bool product_due = k + 1 < steps;
        const unsigned* later = exchange + at((k + 2) % 2, 0) * WORDS;
        unsigned* mine = exchange + at((k + 3) % 2, 0) * WORDS;

        float kept[PER_THREAD][KEPT];
        State old[PER_THREAD], now[PER_THREAD], given[PER_THREAD];
        unsigned char moved[PER_THREAD], began[PER_THREAD], began_later[PER_THREAD];
        // All that a chunk needs from outside, asked for before the product. It is used only afterwards: a thread waits
        // where it first does anything with what it asked for.
        const auto fetch = [&](int chunk) {
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0) continue;
                began_later[i] = restart == nullptr || k + 1 == steps ? 0 : restart[at(time(k + 1), row)];
                if (k < 0) continue;
                const long long here = at(t, row) * size + unit;
                const long long before = at(t + (reverse ? 1 : 0), row) * size + unit;
                moved[i] = advance == nullptr ? 1 : advance[at(t, row)];
                began[i] = restart == nullptr ? 0 : restart[at(t, row)];
                given[i] = {dhs != nullptr ? dhs[here] : 0.0f, dcs != nullptr ? dcs[here] : 0.0f};
                old[i] = {Cell::HAS_C ? 0.0f : hs[before], Cell::HAS_C ? cs[before] : 0.0f};
                now[i] = {0.0f, Cell::HAS_C ? cs[at(t + (reverse ? 0 : 1), row) * size + unit] : 0.0f};
#pragma unroll
                for (int g = 0; g < GATES; ++g) kept[i][g] = z[(at(t, row) * GATES + g) * size + unit];
                if (KEPT > GATES) kept[i][KEPT - 1] = kept_more[here];
            }
        };
        fetch(0);
        if (product_due) barrier.wait();
        for (int chunk = 0, side = 0; chunk < rows; chunk += CHUNK, side ^= 1) {
            float* sums = partial + side * Resident::PARTIALS;   // two, so that one wait a chunk is enough
            if (product_due) {
                product.multiply(reinterpret_cast<const uint4*>(later + chunk * WORDS), rows - chunk, rest, sums);
                __syncthreads();
            }
            float to_x[PER_THREAD][GATES] = {}, to_y[PER_THREAD][GATES] = {};
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0) continue;
                const int here = row * UNITS + threadIdx.x % UNITS;
                State d = {dh_here[here], Cell::HAS_C ? dc_here[here] : 0.0f};
                if (product_due) {
#pragma unroll
                    for (int warp = 0; warp < WARPS; ++warp) {
                        d.h += sums[Resident::partial_at(warp, row - chunk, threadIdx.x % UNITS)];
                    }
                }
                if (began_later[i]) d = {0.0f, 0.0f};
                if (k < 0) {
                    dh[at(0, row) * size + unit] = d.h;
                    if (Cell::HAS_C) dc[at(0, row) * size + unit] = d.c;
                    continue;
                }
                d.h += given[i].h;
                d.c += given[i].c;
                if (began[i]) old[i] = {0.0f, 0.0f};
                if (moved[i]) d = Cell::backward(kept[i], old[i], now[i], d, to_x[i], to_y[i]);
#pragma unroll
                for (int g = 0; g < GATES; ++g) Number::store(mine + row * WORDS, g * size + unit, to_y[i][g]);
                dh_here[here] = d.h;
                if (Cell::HAS_C) dc_here[here] = d.c;
            }
            // Nobody waits for the rest of what a step leaves.
            if (k >= 0 && chunk + CHUNK >= rows) barrier.arrive();
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                const int row = block.row(chunk, CHUNK, i);
                if (row < 0 || k < 0) continue;
#pragma unroll
                for (int g = 0; g < GATES; ++g) {
                    const long long to = (at(t, row) * GATES + g) * size + unit;
                    dx[to] = to_x[i][g];
                    if (KEPT > GATES) dy[to] = to_y[i][g];
                }
            }
            if (chunk + CHUNK < rows) fetch(chunk + CHUNK);
        }
    }
}
