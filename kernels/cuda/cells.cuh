// The cells' equations for one unit of one sequence, forward and back; see xprnn/cells for where they come from.
//
// x and y are the two halves of the pre-activations, of the input and of the state before, each with its bias. kept is
// what the way back needs of a step. old and now are the states before and after a step, d the cotangent of a state.
#pragma once

struct State {
    float h, c;
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct Lstm {
    static constexpr int GATES = 4;   // i f g o
    static constexpr int KEPT = 4;    // i f g o
    static constexpr bool HAS_C = true;

    static __device__ __forceinline__ State forward(const float* x, const float* y, State old, float* kept) {
        const float i = sigmoid(x[0] + y[0]), f = sigmoid(x[1] + y[1]);
        const float g = tanhf(x[2] + y[2]), o = sigmoid(x[3] + y[3]);
        const float c = f * old.c + i * g;
        kept[0] = i, kept[1] = f, kept[2] = g, kept[3] = o;
        return {o * tanhf(c), c};
    }

    // dx and dy: of the halves of the pre-activations. Returns that of old, but for what comes through the product.
    static __device__ __forceinline__ State backward(const float* kept, State old, State now, State d, float* dx,
                                                     float* dy) {
        const float i = kept[0], f = kept[1], g = kept[2], o = kept[3], t = tanhf(now.c);
        const float dc = d.c + d.h * o * (1.0f - t * t);
        dx[0] = dy[0] = dc * g * i * (1.0f - i);
        dx[1] = dy[1] = dc * old.c * f * (1.0f - f);
        dx[2] = dy[2] = dc * i * (1.0f - g * g);
        dx[3] = dy[3] = d.h * t * o * (1.0f - o);
        return {0.0f, dc * f};
    }
};

struct Gru {
    static constexpr int GATES = 3;   // r z n
    static constexpr int KEPT = 4;    // r z n, and the product's half of n
    static constexpr bool HAS_C = false;

    static __device__ __forceinline__ State forward(const float* x, const float* y, State old, float* kept) {
        const float r = sigmoid(x[0] + y[0]), z = sigmoid(x[1] + y[1]), n = tanhf(x[2] + r * y[2]);
        kept[0] = r, kept[1] = z, kept[2] = n, kept[3] = y[2];
        return {n + z * (old.h - n), 0.0f};
    }

    static __device__ __forceinline__ State backward(const float* kept, State old, State, State d, float* dx,
                                                     float* dy) {
        const float r = kept[0], z = kept[1], n = kept[2], m = kept[3];
        const float dn = d.h * (1.0f - z) * (1.0f - n * n);
        dx[0] = dy[0] = dn * m * r * (1.0f - r);
        dx[1] = dy[1] = d.h * (old.h - n) * z * (1.0f - z);
        dx[2] = dn;
        dy[2] = dn * r;
        return {d.h * z, 0.0f};
    }
};
