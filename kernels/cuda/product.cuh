// The share of a recurrent product that one block has: its columns of the weights stay on the chip, rows come by.
//
//     partial[slice][row][column] = sum over the slice's k of  row[k] * weight(column, k)
//
// The columns are cut into SIDES, and k into as many slices as leave each side and slice a warp: with one side no two
// warps read the same part of a row, with several a warp has fewer sums. Who needs the product adds the slices' partial
// sums. A slice is walked in spans, of which each lane takes 16 bytes of a row and as many of each of
// its columns. The weights of the first HELD spans stay in registers, those of the others, `rest`, in shared memory.
#pragma once
#include "device.cuh"

// How numbers are held and multiplied. Sums are float32 in all of them.
struct Float32 {
    static constexpr int PER_WORD = 1;
    static __device__ __forceinline__ unsigned round(float value) { return __float_as_uint(value); }
    static __device__ __forceinline__ void store(unsigned* row, int k, float value) { give(row + k, round(value)); }
};

struct Tf32 {
    static constexpr int PER_WORD = 1;
    static __device__ __forceinline__ unsigned round(float value) { return round_tf32(value); }
    static __device__ __forceinline__ void store(unsigned* row, int k, float value) { give(row + k, round(value)); }
    static __device__ __forceinline__ void multiply_add(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                                        unsigned b0, unsigned b1) {
        mma_tf32(sum, a0, a1, a2, a3, b0, b1);
    }
};

// Two to a word, each rounded to the low half of what ROUND returns.
template <unsigned ROUND(float), void MMA(float*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned)>
struct Halves {
    static constexpr int PER_WORD = 2;
    static __device__ __forceinline__ unsigned round(float value) { return ROUND(value); }
    static __device__ __forceinline__ void store(unsigned* row, int k, float value) {
        give(reinterpret_cast<unsigned short*>(row) + k, static_cast<unsigned short>(round(value)));
    }
    static __device__ __forceinline__ void multiply_add(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                                        unsigned b0, unsigned b1) {
        MMA(sum, a0, a1, a2, a3, b0, b1);
    }
};

using Bf16 = Halves<round_bf16, mma_bf16>;
using Fp16 = Halves<round_fp16, mma_fp16>;

// Four words of weights from word `word` on. weight(column, k) must be 0 past the matrix.
template <class Number, class Weight>
__device__ __forceinline__ uint4 weight_vector(const Weight& weight, int column, int word) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int k = (word + i) * Number::PER_WORD;
        words[i] = Number::round(weight(column, k));
        if (Number::PER_WORD == 2) words[i] |= Number::round(weight(column, k + 1)) << 16;
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

// What a lane has of COUNT rows in a span.
template <int ROWS> struct Operands {
    static constexpr int COUNT = ROWS;
    uint4 row[ROWS];

    template <class Exchange> __device__ __forceinline__ bool lack() const {
        bool lacking = false;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) lacking |= Exchange::lacks(row[i]);
        return lacking;
    }
};

constexpr int AT_ONCE = 8;   // vectors of a lane that are looked for at once

// What both products share: LANES lanes stand side by side along k, and a lane has PER_LANE columns.
template <class Number, int COLUMNS, int INNER, int WARPS, int SIDES, int HELD, int LANES, int PER_LANE>
struct ResidentWeights {
    static constexpr int SLICES = WARPS / SIDES;
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int SPANS = INNER / Number::PER_WORD / 4 / (SLICES * LANES);
    static constexpr int REST = (SPANS - HELD) * PER_LANE;   // vectors of a thread in shared memory
    // 8 modulo 16, so that the 4 or 8 rows a warp writes or reads at once fall into different banks.
    static constexpr int PARTIAL_STRIDE = COLUMNS % 16 == 8 ? COLUMNS : (COLUMNS + 7) / 16 * 16 + 8;
    static_assert(SPANS * SLICES * LANES * 4 * Number::PER_WORD == INNER, "k must fill every slice");
    static_assert(SLICES * SIDES == WARPS, "a warp has one slice of one side");
    static_assert(0 < HELD && HELD <= SPANS, "of the weights, some are in registers");

    uint4 held[HELD][PER_LANE];

    // Where a lane that is number `along` of LANES finds its vector of a span.
    static __device__ __forceinline__ int vector_at(int span, int along) {
        return (slice() * SPANS + span) * LANES + along;
    }
    static __device__ __forceinline__ int slice() { return threadIdx.x / 32 % SLICES; }
    static __device__ __forceinline__ int first_column() { return threadIdx.x / 32 / SLICES * (COLUMNS / SIDES); }

    template <class Weight>
    __device__ __forceinline__ void load(const Weight& weight, uint4* rest, int along, int column, int column_step) {
        const auto vector = [&](int span, int n) {
            return weight_vector<Number>(weight, first_column() + column + n * column_step, vector_at(span, along) * 4);
        };
#pragma unroll
        for (int span = 0; span < HELD; ++span) {
#pragma unroll
            for (int n = 0; n < PER_LANE; ++n) held[span][n] = vector(span, n);
        }
#pragma unroll 4
        for (int i = 0; i < REST; ++i) rest[i * THREADS + threadIdx.x] = vector(HELD + i / PER_LANE, i % PER_LANE);
    }

    // step(what fetch(span) gave, weights of the span) for all spans. The compiler hoists what the first spans fetch;
    // of the others, each is fetched while the one before it is used. Where the exchange must be looked at again until
    // all is there, nothing can be hoisted past that, and as many spans as AT_ONCE vectors hold are fetched ahead.
    template <class Exchange, class Fetch, class Step>
    __device__ __forceinline__ void for_spans(const uint4* rest, const Fetch& fetch, const Step& step) const {
        using Operands = decltype(fetch(0));
        const auto whole = [&](Operands operands, int span) {
            if constexpr (Exchange::POLLS) {
                while (any_lane(operands.template lack<Exchange>())) operands = fetch(span);
            }
            return operands;
        };
        constexpr int ROOM = AT_ONCE / Operands::COUNT, AHEAD = ROOM < 1 ? 1 : ROOM < HELD ? ROOM : HELD;
        if constexpr (Exchange::POLLS) {
            Operands early[AHEAD];
#pragma unroll
            for (int span = 0; span < AHEAD; ++span) early[span] = fetch(span);
#pragma unroll
            for (int span = 0; span < HELD; ++span) {
                const Operands operands = whole(early[span % AHEAD], span);
                if (span + AHEAD < HELD) early[span % AHEAD] = fetch(span + AHEAD);
                step(operands, held[span]);
            }
        } else {
#pragma unroll
            for (int span = 0; span < HELD; ++span) step(fetch(span), held[span]);
        }
        if (HELD == SPANS) return;
        auto coming = fetch(HELD);
#pragma unroll 1
        for (int span = HELD; span < SPANS; ++span) {
            uint4 here[PER_LANE];
#pragma unroll
            for (int n = 0; n < PER_LANE; ++n) here[n] = rest[((span - HELD) * PER_LANE + n) * THREADS + threadIdx.x];
            const Operands operands = whole(coming, span);
            if (span + 1 < SPANS) coming = fetch(span + 1);
            step(operands, here);
        }
    }
};

// On tensor cores. Rows are the 16 of the instruction, columns its 8. The instruction may take k in any order that is
// the same for both operands, so lane q of 4 takes the 4 words 4q to 4q+3 of a span of 16 in one load, and they serve
// two instructions: words 0 and 1 the first, words 2 and 3 the second.
template <class Number, int COLUMNS, int INNER, int WARPS, int SIDES, int HELD, int TILES>
struct Product {
    static constexpr int PER_LANE = COLUMNS / SIDES / 8;
    using Weights = ResidentWeights<Number, COLUMNS, INNER, WARPS, SIDES, HELD, 4, PER_LANE>;
    static constexpr int ROWS = 16 * TILES;   // in one call
    static constexpr int REST = Weights::REST, SLICES = Weights::SLICES;
    static constexpr int PARTIALS = SLICES * ROWS * Weights::PARTIAL_STRIDE;
    static_assert(COLUMNS % (8 * SIDES) == 0, "the instruction has 8 columns");

    Weights weights;

    static __device__ __forceinline__ int partial_at(int slice, int row, int column) {
        return (slice * ROWS + row) * Weights::PARTIAL_STRIDE + column;
    }

    template <class Weight> __device__ __forceinline__ void load(const Weight& weight, uint4* rest) {
        weights.load(weight, rest, threadIdx.x % 4, threadIdx.x % 32 / 4, 8);
    }

    // Rows of the exchange from `first` on; those past the last are 0, however many ROWS says. partial (SLICES, ROWS,
    // PARTIAL_STRIDE).
    template <class Exchange>
    __device__ __forceinline__ void multiply(const Exchange& exchange, int first, int count, const uint4* rest,
                                             float* partial) const {
        constexpr int STRIDE = Exchange::STRIDE / 4;   // vectors
        const uint4* rows = exchange.rows(first);
        const int lane = threadIdx.x % 32, across = lane / 4, along = lane % 4;
        // With few columns each instruction would wait for the one before it: let every other have sums of its own.
        constexpr int CHAINS = TILES * PER_LANE < 4 ? 2 : 1;
        float sums[CHAINS][TILES][PER_LANE][4] = {};
        const auto fetch = [&](int span) {
            const uint4* here = rows + Weights::vector_at(span, along);
            Operands<2 * TILES> operands;
#pragma unroll
            for (int i = 0; i < 2 * TILES; ++i) {
                const int row = 8 * i + across;
                operands.row[i] = row < count ? Exchange::load(here + row * STRIDE) : make_uint4(0, 0, 0, 0);
            }
            return operands;
        };
        weights.template for_spans<Exchange>(rest, fetch, [&](const auto& operands, const uint4* weight) {
#pragma unroll
            for (int n = 0; n < PER_LANE; ++n) {
                const uint4 w = weight[n];
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile) {
                    const uint4 a = operands.row[2 * tile], b = operands.row[2 * tile + 1];
                    Number::multiply_add(sums[0][tile][n], a.x, b.x, a.y, b.y, w.x, w.y);
                    Number::multiply_add(sums[CHAINS - 1][tile][n], a.z, b.z, a.w, b.w, w.z, w.w);
                }
            }
        });
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
            for (int n = 0; n < PER_LANE; ++n) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int to = partial_at(Weights::slice(), 16 * tile + 8 * half + across,
                                              Weights::first_column() + 8 * n + 2 * along);
                    float* sum = sums[0][tile][n] + 2 * half;
                    if constexpr (CHAINS == 2) {
                        sum[0] += sums[1][tile][n][2 * half];
                        sum[1] += sums[1][tile][n][2 * half + 1];
                    }
                    *reinterpret_cast<float2*>(partial + to) = make_float2(sum[0], sum[1]);
                }
            }
        }
    }
};

// The widest power of two of lanes that leaves each at least one and, where a warp has so many, 6 or 8 columns.
__host__ __device__ constexpr int column_lanes(int columns) {
    int lanes = 1;
    while (lanes < 32 && columns / lanes > 8) lanes *= 2;
    return lanes;
}

// In plain float32. A warp's lanes stand along k and across columns; each sums its columns for all rows of a call
// and then the lanes along k add up what they have, in such a way that each ends with rows of its own.
template <int COLUMNS, int INNER, int WARPS, int SIDES, int HELD, int TILES>
struct Product<Float32, COLUMNS, INNER, WARPS, SIDES, HELD, TILES> {
    static constexpr int ACROSS = column_lanes(COLUMNS / SIDES), ALONG = 32 / ACROSS;
    static constexpr int PER_LANE = COLUMNS / SIDES / ACROSS;
    using Weights = ResidentWeights<Float32, COLUMNS, INNER, WARPS, SIDES, HELD, ALONG, PER_LANE>;
    static constexpr int ROWS = TILES;
    static constexpr int REST = Weights::REST, SLICES = Weights::SLICES;
    static constexpr int PARTIALS = SLICES * ROWS * Weights::PARTIAL_STRIDE;
    static constexpr int LEFT = ROWS > ALONG ? ROWS / ALONG : 1;   // rows a lane ends with
    static_assert(PER_LANE * ACROSS * SIDES == COLUMNS, "a lane has its columns alone");
    static_assert((ROWS & (ROWS - 1)) == 0, "rows are halved from lane to lane");

    Weights weights;

    static __device__ __forceinline__ int partial_at(int slice, int row, int column) {
        return (slice * ROWS + row) * Weights::PARTIAL_STRIDE + column;
    }

    template <class Weight> __device__ __forceinline__ void load(const Weight& weight, uint4* rest) {
        const int lane = threadIdx.x % 32;
        weights.load(weight, rest, lane % ALONG, lane / ALONG, ACROSS);
    }

    template <class Exchange>
    __device__ __forceinline__ void multiply(const Exchange& exchange, int first, int count, const uint4* rest,
                                             float* partial) const {
        constexpr int STRIDE = Exchange::STRIDE / 4;   // vectors
        const uint4* rows = exchange.rows(first);
        const int lane = threadIdx.x % 32, along = lane % ALONG, across = lane / ALONG;
        float sums[PER_LANE][ROWS] = {};
        const auto fetch = [&](int span) {
            const uint4* here = rows + Weights::vector_at(span, along);
            Operands<ROWS> operands;
#pragma unroll
            for (int row = 0; row < ROWS; ++row) {
                operands.row[row] = row < count ? Exchange::load(here + row * STRIDE) : make_uint4(0, 0, 0, 0);
            }
            return operands;
        };
        weights.template for_spans<Exchange>(rest, fetch, [&](const auto& operands, const uint4* weight) {
#pragma unroll
            for (int n = 0; n < PER_LANE; ++n) {
                const uint4 w = weight[n];
#pragma unroll
                for (int row = 0; row < ROWS; ++row) {
                    const uint4 h = operands.row[row];
                    float& sum = sums[n][row];
                    sum = fmaf(__uint_as_float(h.x), __uint_as_float(w.x), sum);
                    sum = fmaf(__uint_as_float(h.y), __uint_as_float(w.y), sum);
                    sum = fmaf(__uint_as_float(h.z), __uint_as_float(w.z), sum);
                    sum = fmaf(__uint_as_float(h.w), __uint_as_float(w.w), sum);
                }
            }
        });
        int row = 0;
#pragma unroll
        for (int n = 0; n < PER_LANE; ++n) row = add_along(sums[n], along);
        // Where there are more lanes than rows, several hold the same sum, and one of them writes it.
        if (along % (ALONG > ROWS ? ALONG / ROWS : 1) != 0) return;
#pragma unroll
        for (int n = 0; n < PER_LANE; ++n) {
#pragma unroll
            for (int i = 0; i < LEFT; ++i) {
                partial[partial_at(Weights::slice(), row + i, Weights::first_column() + n * ACROSS + across)] = sums[n][i];
            }
        }
    }

    // Halve the lanes again and again: each keeps half of its rows and takes its partner's sums for them; when one
    // row is left, both keep it. Returns the first row that is now in sums[0].
    static __device__ __forceinline__ int add_along(float* sums, int along) {
        int first = 0;
#pragma unroll
        for (int mask = ALONG / 2, left = ROWS; mask > 0; mask /= 2, left = left > 1 ? left / 2 : 1) {
            if (left == 1) {
                sums[0] += exchange_lanes(sums[0], mask);
            } else {
                const bool upper = along & mask;
                first += upper ? left / 2 : 0;
#pragma unroll
                for (int i = 0; i < left / 2; ++i) {
                    const float mine = upper ? sums[i + left / 2] : sums[i];
                    const float yours = upper ? sums[i] : sums[i + left / 2];
                    sums[i] = mine + exchange_lanes(yours, mask);
                }
            }
        }
        return first;
    }
};
