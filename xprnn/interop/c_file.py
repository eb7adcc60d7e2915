"""The C file around a model's functions: what it declares, and a program that tests it."""

FILE = """\
/* {name}: {what}
 * as one file of C99: float, no library, no allocation. Written by xprnn {version}.
 *
 * At each step {inputs} in, {outputs} out; y may be x where that is the same number.
 *
 * state    {sizes.state} bytes, a struct that can be copied
 * weights  {sizes.weights} bytes of constants
 * stack    {sizes.stack} bytes of arrays during a step, and what the compiler needs for calls and counters
 * work     about {multiplications} multiplications and additions a step
 */

#ifndef {name}_DECLARED
#define {name}_DECLARED

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {name}_inputs = {inputs}, {name}_outputs = {outputs} }};

typedef struct {{
{members}
}} {name}_state;

/* The state to begin with. */
void {name}_init({name}_state *s);

/* Zeros, as if nothing had been heard. */
void {name}_reset({name}_state *s);

/* One step: x[inputs] to y[outputs]. */
void {name}_step({name}_state *s, const float *x, float *y);

/* Several: x[steps][inputs] to y[steps][outputs]. */
void {name}_block({name}_state *s, const float *x, float *y, int steps);

#ifdef __cplusplus
}}
#endif

#endif

#ifndef {name}_DECLARATIONS_ONLY
{before}
{constants}
{functions}
void {name}_reset({name}_state *s)
{{
{zeros}
}}

void {name}_init({name}_state *s)
{{
{beginning}
}}

void {name}_step({name}_state *s, const float *x, float *y)
{{
{body}
}}

void {name}_block({name}_state *s, const float *x, float *y, int steps)
{{
    for (; steps > 0; steps--, x += {inputs}, y += {outputs})
        {name}_step(s, x, y);
}}

#ifdef {name}_TEST

#include <stdio.h>

{test_x}

{test_y}

int main(void)
{{
    static float y[{steps} * {outputs}];
    {name}_state s;
    float largest = 0.0f, worst = 0.0f, unit;
    int k, wrong = 0;
    {name}_init(&s);
    {name}_block(&s, test_x, y, {steps});
    for (k = 0; k < {steps} * {outputs}; k++) {{
        float size = test_y[k] < 0.0f ? -test_y[k] : test_y[k];
        largest = size > largest ? size : largest;
    }}
    unit = largest > 1e-30f ? largest * 1.1920929e-7f : 1e-37f;
    for (k = 0; k < {steps} * {outputs}; k++) {{
        float off = (y[k] - test_y[k]) / unit;
        off = off < 0.0f ? -off : off;
        worst = off > worst ? off : worst;
        wrong += !(off <= {allowed}.0f);
    }}
    printf("{name}: at most %.1f ulp of the largest output off, {allowed} allowed: %s\\n", (double)worst,
           wrong ? "WRONG" : "right");
    return wrong != 0;
}}

#endif

#endif
"""
