// The cells' equations for one unit of one sequence, forward and back; see xprnn/cells for where they come from.
//
// x and y are the two halves of the pre-activations, of the input and of the state before, each with its bias. kept is
// what the way back needs of a step. old and now are the states before and after a step, d the cotangent of a state.
// Slopes are what the way back can know before a cotangent comes: a_by_b is the derivative of a by b or, where b is a
// gate, by its pre-activation.
#pragma once
#include "device.cuh"

struct State {
    float h, c;
};

// Within 3e-7 everywhere, by CUDA's bounds for its two parts. expf and a division rounded right take a branch more.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

struct Lstm {
    static constexpr int GATES = 4;   // i f g o
    static constexpr int SUMS = 4;    // the first of them, for which only x + y counts
    static constexpr int KEPT = 4;    // i f g o
    static constexpr bool HAS_C = true;

    static __device__ __forceinline__ State forward(const float* x, const float* y, State old, float* kept) {
        const float i = sigmoid(x[0] + y[0]), f = sigmoid(x[1] + y[1]);
        const float g = tanhf(x[2] + y[2]), o = sigmoid(x[3] + y[3]);
        const float c = f * old.c + i * g;
        kept[0] = i, kept[1] = f, kept[2] = g, kept[3] = o;
        return {o * tanhf(c), c};
    }

    struct Slopes {
        float h_by_c, c_by_i, c_by_f, c_by_g, h_by_o, c_by_old;
    };

    static __device__ __forceinline__ Slopes slopes(const float* kept, State old, State now) {
        const float i = kept[0], f = kept[1], g = kept[2], o = kept[3], t = computed_here(tanhf(now.c));
        return {o * (1.0f - t * t), g * i * (1.0f - i), old.c * f * (1.0f - f),
                i * (1.0f - g * g), t * o * (1.0f - o), f};
    }

    // dx and dy: of the halves of the pre-activations. Returns that of old, but for what comes through the product.
    static __device__ __forceinline__ State backward(const Slopes& slopes, State d, float* dx, float* dy) {
        const float dc = d.c + d.h * slopes.h_by_c;
        dx[0] = dy[0] = dc * slopes.c_by_i;
        dx[1] = dy[1] = dc * slopes.c_by_f;
        dx[2] = dy[2] = dc * slopes.c_by_g;
        dx[3] = dy[3] = d.h * slopes.h_by_o;
        return {0.0f, dc * slopes.c_by_old};
    }
};

struct Gru {
    static constexpr int GATES = 3;   // r z n
    static constexpr int SUMS = 2;    // r z
    static constexpr int KEPT = 4;    // r z n, and the product's half of n
    static constexpr bool HAS_C = false;

    static __device__ __forceinline__ State forward(const float* x, const float* y, State old, float* kept) {
        const float r = sigmoid(x[0] + y[0]), z = sigmoid(x[1] + y[1]), n = tanhf(x[2] + r * y[2]);
        kept[0] = r, kept[1] = z, kept[2] = n, kept[3] = y[2];
        return {n + z * (old.h - n), 0.0f};
    }

    struct Slopes {
        float h_by_n, n_by_r, h_by_z, n_by_y, h_by_old;
    };

    static __device__ __forceinline__ Slopes slopes(const float* kept, State old, State) {
        const float r = kept[0], z = kept[1], n = kept[2], y = kept[3];
        return {(1.0f - z) * (1.0f - n * n), y * r * (1.0f - r), (old.h - n) * z * (1.0f - z), r, z};
    }

    static __device__ __forceinline__ State backward(const Slopes& slopes, State d, float* dx, float* dy) {
        const float dn = d.h * slopes.h_by_n;
        dx[0] = dy[0] = dn * slopes.n_by_r;
        dx[1] = dy[1] = d.h * slopes.h_by_z;
        dx[2] = dn;
        dy[2] = dn * slopes.n_by_y;
        return {d.h * slopes.h_by_old, 0.0f};
    }
};
