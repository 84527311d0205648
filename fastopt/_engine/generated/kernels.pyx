# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# Generated from optimizers/ and stages.py by python fastopt/_codegen: edit those files.
"""Loops over elements, compiled once for each instruction set."""

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t

from fastopt._engine.span cimport reduce_blocks, write_factors, span, write_terms
from fastopt._engine.table cimport (
    ACCUMULATES, ARRAY, AVERAGES, BLOCK, CHECKS, GRADIENT, GROUP, INPUTS, LINES, MATRIX, MEASURES, PARAMETER, STAGE_ARRAY,
    TRANSFORMS, UPDATE, VELOCITY, VERSION, WHOLE, describe, describe_mixed, describe_narrow, describe_rule, describe_squares,
    describe_stage, describe_sums, describe_terms, describe_vectors, fo_powers_t, formula_t, kernel_t, narrow_kernel_t, table_t,
)

ctypedef fused real:
    float
    double

ctypedef fused source:
    float
    double

ctypedef fused target:
    float
    double

cdef extern from "powers.h" nogil:
    double power "fo_power_kept"(fo_powers_t *all, int place, double x, int64_t n)
cdef extern from "block.h" nogil:
    const char *FO_ISA
    double power "fo_power"(double x, int64_t n)
    double exp "fo_exp"(double x)
    double log "fo_log"(double x)
    float sqrt "fo_sqrtf"(float x)
    double sqrt "fo_sqrt"(double x)
    float fabs "fo_fabsf"(float x)
    double fabs "fo_fabs"(double x)
    float sign "fo_signf"(float x)
    double sign "fo_sign"(double x)
    float copysign "fo_copysignf"(float x, float y)
    double copysign "fo_copysign"(double x, double y)
    float maximum "fo_maximumf"(float x, float y)
    double maximum "fo_maximum"(double x, double y)
    float minimum "fo_minimumf"(float x, float y)
    double minimum "fo_minimum"(double x, double y)
    float where "fo_wheref"(bint c, float x, float y)
    double where "fo_where"(bint c, double x, double y)
    float scale_by "fo_scale_byf"(float x, double factor, double power)
    double scale_by "fo_scale_by"(double x, double factor, double power)
    double ldexp "fo_ldexp"(double x, double n)
    double ceil_log2 "fo_ceil_log2"(double x)
    double scale_factor "fo_scale_factor"(double x, double n)
    double scale_power "fo_scale_power"(double x, double n)
    bint fo_is_exact(double factor, double shift)
    bint fo_is_float(double x)


cdef extern from *:
    """
    #include "vector.h"
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adabelief_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], root = c[4], eps = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * (g - m) * (g - m) + root;
        const fo_floats update = step_size * m / (fo_sqrt_floats(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adabelief, floats, float, 2, 3, 6)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adabelief_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], root = c[4], eps = c[5];
        fo_doubles m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * (g - m) * (g - m) + root;
        const fo_doubles update = step_size * m / (fo_sqrt_doubles(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adabelief, doubles, double, 2, 3, 6)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adadelta_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], eps = c[3];
        fo_floats v = state_[0], moved = state_[1];
        v = keep * v + w * g * g;
        fo_floats delta = fo_sqrt_floats(moved + eps) / fo_sqrt_floats(v + eps) * g;
        moved = keep * moved + w * delta * delta;
        const fo_floats update = lr * delta;
        state_[0] = v;
        state_[1] = moved;
        return update;
    }
    FO_VECTOR_KERNEL(adadelta, floats, float, 2, 3, 4)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adadelta_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles lr = c[0], keep = c[1], w = c[2], eps = c[3];
        fo_doubles v = state_[0], moved = state_[1];
        v = keep * v + w * g * g;
        fo_doubles delta = fo_sqrt_doubles(moved + eps) / fo_sqrt_doubles(v + eps) * g;
        moved = keep * moved + w * delta * delta;
        const fo_doubles update = lr * delta;
        state_[0] = v;
        state_[1] = moved;
        return update;
    }
    FO_VECTOR_KERNEL(adadelta, doubles, double, 2, 3, 4)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adafactor_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], floor = c[1];
        fo_floats col = state_[1], ratio = state_[2];
        return step_size * g / fo_sqrt_floats(fo_maximum_floats(ratio * col, floor));
    }
    FO_VECTOR_KERNEL(adafactor, floats, float, 3, 0, 2)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adafactor_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles step_size = c[0], floor = c[1];
        fo_doubles col = state_[1], ratio = state_[2];
        return step_size * g / fo_sqrt_doubles(fo_maximum_doubles(ratio * col, floor));
    }
    FO_VECTOR_KERNEL(adafactor, doubles, double, 3, 0, 2)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adafactor_vector_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats step_size = c[0], keep = c[1], w = c[2], more = c[3], floor = c[4];
        fo_floats v = state_[0];
        v = keep * v + w * g * g + more;
        const fo_floats update = step_size * g / fo_sqrt_floats(fo_maximum_floats(v, floor));
        state_[0] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adafactor_vector, floats, float, 1, 1, 5)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adafactor_vector_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const
        double *c64_)
    {
        const fo_doubles step_size = c[0], keep = c[1], w = c[2], more = c[3], floor = c[4];
        fo_doubles v = state_[0];
        v = keep * v + w * g * g + more;
        const fo_doubles update = step_size * g / fo_sqrt_doubles(fo_maximum_doubles(v, floor));
        state_[0] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adafactor_vector, doubles, double, 1, 1, 5)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adagrad_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], root = c[1], eps = c[2];
        fo_floats sum = state_[0];
        sum = sum + g * g;
        const fo_floats update = step_size * g / (fo_sqrt_floats(sum + root) + eps);
        state_[0] = sum;
        return update;
    }
    FO_VECTOR_KERNEL(adagrad, floats, float, 1, 1, 3)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adagrad_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles step_size = c[0], root = c[1], eps = c[2];
        fo_doubles sum = state_[0];
        sum = sum + g * g;
        const fo_doubles update = step_size * g / (fo_sqrt_doubles(sum + root) + eps);
        state_[0] = sum;
        return update;
    }
    FO_VECTOR_KERNEL(adagrad, doubles, double, 1, 1, 3)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adam_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], root = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = step_size * m / (fo_sqrt_floats(v + root) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adam, floats, float, 2, 3, 6)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adam_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double *c64_)
    {
        const fo_doubles step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], root = c[5];
        fo_doubles m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_doubles update = step_size * m / (fo_sqrt_doubles(v + root) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adam, doubles, double, 2, 3, 6)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_amsgrad_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], seen = c[4], eps = c[5], root = c[6];
        fo_floats m = state_[0], v = state_[1], vmax = state_[2];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        vmax = fo_maximum_floats(vmax, seen * v);
        const fo_floats update = step_size * m / (fo_sqrt_floats(vmax + root) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = vmax;
        return update;
    }
    FO_VECTOR_KERNEL(amsgrad, floats, float, 3, 7, 7)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_amsgrad_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], seen = c[4], eps = c[5], root = c[6];
        fo_doubles m = state_[0], v = state_[1], vmax = state_[2];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        vmax = fo_maximum_doubles(vmax, seen * v);
        const fo_doubles update = step_size * m / (fo_sqrt_doubles(vmax + root) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = vmax;
        return update;
    }
    FO_VECTOR_KERNEL(amsgrad, doubles, double, 3, 7, 7)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adan_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats of_m = c[0], of_d = c[1], w1 = c[2], w2 = c[3], ahead = c[4], keep = c[5], w3 = c[6], eps = c[7];
        const fo_floats root = c[8], before = c[9];
        fo_floats m = state_[0], d = state_[1], v = state_[2], last = state_[3];
        fo_floats change = fo_where_floats(before > fo_number_floats(0.0), g - last, fo_number_floats(0.0));
        fo_floats look = g + ahead * change;
        m = m + w1 * (g - m);
        d = d + w2 * (change - d);
        v = keep * v + w3 * look * look;
        const fo_floats update = (of_m * m + of_d * d) / (fo_sqrt_floats(v + root) + eps);
        state_[0] = m;
        state_[1] = d;
        state_[2] = v;
        state_[3] = g;
        return update;
    }
    FO_VECTOR_KERNEL(adan, floats, float, 4, 15, 10)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adan_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double *c64_)
    {
        const fo_doubles of_m = c[0], of_d = c[1], w1 = c[2], w2 = c[3], ahead = c[4], keep = c[5], w3 = c[6], eps = c[7];
        const fo_doubles root = c[8], before = c[9];
        fo_doubles m = state_[0], d = state_[1], v = state_[2], last = state_[3];
        fo_doubles change = fo_where_doubles(before > fo_number_doubles(0.0), g - last, fo_number_doubles(0.0));
        fo_doubles look = g + ahead * change;
        m = m + w1 * (g - m);
        d = d + w2 * (change - d);
        v = keep * v + w3 * look * look;
        const fo_doubles update = (of_m * m + of_d * d) / (fo_sqrt_doubles(v + root) + eps);
        state_[0] = m;
        state_[1] = d;
        state_[2] = v;
        state_[3] = g;
        return update;
    }
    FO_VECTOR_KERNEL(adan, doubles, double, 4, 15, 10)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_ademamix_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats fast = c[0], slow = c[1], w1 = c[2], keep = c[3], w2 = c[4], w3 = c[5], eps = c[6];
        fo_floats m = state_[0], v = state_[1], m2 = state_[2];
        m = m + w1 * (g - m);
        m2 = m2 + w3 * (g - m2);
        v = keep * v + w2 * g * g;
        const fo_floats update = (fast * m + slow * m2) / (fo_sqrt_floats(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = m2;
        return update;
    }
    FO_VECTOR_KERNEL(ademamix, floats, float, 3, 7, 7)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_ademamix_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles fast = c[0], slow = c[1], w1 = c[2], keep = c[3], w2 = c[4], w3 = c[5], eps = c[6];
        fo_doubles m = state_[0], v = state_[1], m2 = state_[2];
        m = m + w1 * (g - m);
        m2 = m2 + w3 * (g - m2);
        v = keep * v + w2 * g * g;
        const fo_doubles update = (fast * m + slow * m2) / (fo_sqrt_doubles(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = m2;
        return update;
    }
    FO_VECTOR_KERNEL(ademamix, doubles, double, 3, 7, 7)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adopt_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5];
        fo_floats m = state_[0], v = state_[1];
        fo_floats scaled = fo_minimum_floats(fo_maximum_floats(g / fo_maximum_floats(fo_sqrt_floats(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = lr * m;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adopt, floats, float, 2, 3, 6)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adopt_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5];
        fo_doubles m = state_[0], v = state_[1];
        fo_doubles scaled = fo_minimum_doubles(fo_maximum_doubles(g / fo_maximum_doubles(fo_sqrt_doubles(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_doubles update = lr * m;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adopt, doubles, double, 2, 3, 6)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adopt_decoupled_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5], decay = c[6];
        fo_floats m = state_[0], v = state_[1];
        fo_floats scaled = fo_minimum_floats(fo_maximum_floats(g / fo_maximum_floats(fo_sqrt_floats(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = lr * m + decay * p;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adopt_decoupled, floats, float, 2, 3, 7)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_adopt_decoupled_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const
        double *c64_)
    {
        const fo_doubles lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5], decay = c[6];
        fo_doubles m = state_[0], v = state_[1];
        fo_doubles scaled = fo_minimum_doubles(fo_maximum_doubles(g / fo_maximum_doubles(fo_sqrt_doubles(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_doubles update = lr * m + decay * p;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(adopt_decoupled, doubles, double, 2, 3, 7)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_ftrl_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats rate = c[0], beta = c[1], l1 = c[2], l2 = c[3];
        fo_floats z = state_[0], n2 = state_[1];
        fo_floats before = fo_sqrt_floats(n2);
        n2 = n2 + g * g;
        fo_floats after = fo_sqrt_floats(n2);
        z = z + g - rate * (after - before) * p;
        fo_floats target = fo_where_floats(fo_fabs_floats(z) > l1, (fo_copysign_floats(l1, z) - z) / (rate * after + beta + l2),
            fo_number_floats(0.0));
        const fo_floats update = p - target;
        state_[0] = z;
        state_[1] = n2;
        return update;
    }
    FO_VECTOR_KERNEL(ftrl, floats, float, 2, 3, 4)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_ftrl_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double *c64_)
    {
        const fo_doubles rate = c[0], beta = c[1], l1 = c[2], l2 = c[3];
        fo_doubles z = state_[0], n2 = state_[1];
        fo_doubles before = fo_sqrt_doubles(n2);
        n2 = n2 + g * g;
        fo_doubles after = fo_sqrt_doubles(n2);
        z = z + g - rate * (after - before) * p;
        fo_doubles target = fo_where_doubles(fo_fabs_doubles(z) > l1, (fo_copysign_doubles(l1, z) - z) / (rate * after + beta +
            l2), fo_number_doubles(0.0));
        const fo_doubles update = p - target;
        state_[0] = z;
        state_[1] = n2;
        return update;
    }
    FO_VECTOR_KERNEL(ftrl, doubles, double, 2, 3, 4)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_nadam_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats of_g = c[0], of_m = c[1], w1 = c[2], keep = c[3], w2 = c[4], eps = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = (of_g * g + of_m * m) / (fo_sqrt_floats(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(nadam, floats, float, 2, 3, 6)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_nadam_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles of_g = c[0], of_m = c[1], w1 = c[2], keep = c[3], w2 = c[4], eps = c[5];
        fo_doubles m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_doubles update = (of_g * g + of_m * m) / (fo_sqrt_doubles(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(nadam, doubles, double, 2, 3, 6)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_prodigy_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7];
        const fo_floats decay = c[8];
        fo_floats m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const fo_floats update = lr * m / (fo_sqrt_floats(v) + eps) + decay * p;
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
    FO_VECTOR_KERNEL(prodigy, floats, float, 4, 7, 9)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_prodigy_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7];
        const fo_doubles decay = c[8];
        fo_doubles m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const fo_doubles update = lr * m / (fo_sqrt_doubles(v) + eps) + decay * p;
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
    FO_VECTOR_KERNEL(prodigy, doubles, double, 4, 7, 9)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_prodigy_coupled_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7];
        fo_floats m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const fo_floats update = lr * m / (fo_sqrt_floats(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
    FO_VECTOR_KERNEL(prodigy_coupled, floats, float, 4, 7, 8)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_prodigy_coupled_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const
        double *c64_)
    {
        const fo_doubles lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7];
        fo_doubles m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const fo_doubles update = lr * m / (fo_sqrt_doubles(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
    FO_VECTOR_KERNEL(prodigy_coupled, doubles, double, 4, 7, 8)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_radam_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], adapt = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = step_size * m / fo_where_floats(adapt > fo_number_floats(0.0), fo_sqrt_floats(v) + eps,
            fo_number_floats(1.0));
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(radam, floats, float, 2, 3, 6)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_radam_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], adapt = c[5];
        fo_doubles m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_doubles update = step_size * m / fo_where_doubles(adapt > fo_number_doubles(0.0), fo_sqrt_doubles(v) + eps,
            fo_number_doubles(1.0));
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(radam, doubles, double, 2, 3, 6)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_rmsprop_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_floats v = state_[0];
        v = keep * v + w * g * g;
        const fo_floats update = lr * g / (fo_sqrt_floats(v + root) + eps);
        state_[0] = v;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop, floats, float, 1, 1, 5)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_rmsprop_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double
        *c64_)
    {
        const fo_doubles lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_doubles v = state_[0];
        v = keep * v + w * g * g;
        const fo_doubles update = lr * g / (fo_sqrt_doubles(v + root) + eps);
        state_[0] = v;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop, doubles, double, 1, 1, 5)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_rmsprop_centered_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_floats v = state_[0], mean = state_[1];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        const fo_floats update = lr * g / (fo_sqrt_floats(fo_maximum_floats(v - mean * mean, fo_number_floats(0.0)) + root) + eps);
        state_[0] = v;
        state_[1] = mean;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_centered, floats, float, 2, 3, 5)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_rmsprop_centered_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const
        double *c64_)
    {
        const fo_doubles lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_doubles v = state_[0], mean = state_[1];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        const fo_doubles update = lr * g / (fo_sqrt_doubles(fo_maximum_doubles(v - mean * mean, fo_number_doubles(0.0)) + root) +
            eps);
        state_[0] = v;
        state_[1] = mean;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_centered, doubles, double, 2, 3, 5)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_rmsprop_momentum_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_floats v = state_[0], buf = state_[1];
        v = keep * v + w * g * g;
        buf = roll * buf + take * g / (fo_sqrt_floats(v + root) + eps);
        const fo_floats update = lr * buf;
        state_[0] = v;
        state_[1] = buf;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_momentum, floats, float, 2, 3, 7)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_rmsprop_momentum_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const
        double *c64_)
    {
        const fo_doubles lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_doubles v = state_[0], buf = state_[1];
        v = keep * v + w * g * g;
        buf = roll * buf + take * g / (fo_sqrt_doubles(v + root) + eps);
        const fo_doubles update = lr * buf;
        state_[0] = v;
        state_[1] = buf;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_momentum, doubles, double, 2, 3, 7)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_rmsprop_centered_momentum_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c,
        const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_floats v = state_[0], mean = state_[1], buf = state_[2];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        buf = roll * buf + take * g / (fo_sqrt_floats(fo_maximum_floats(v - mean * mean, fo_number_floats(0.0)) + root) + eps);
        const fo_floats update = lr * buf;
        state_[0] = v;
        state_[1] = mean;
        state_[2] = buf;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_centered_momentum, floats, float, 3, 7, 7)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_rmsprop_centered_momentum_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles
        *c, const double *c64_)
    {
        const fo_doubles lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_doubles v = state_[0], mean = state_[1], buf = state_[2];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        buf = roll * buf + take * g / (fo_sqrt_doubles(fo_maximum_doubles(v - mean * mean, fo_number_doubles(0.0)) + root) + eps);
        const fo_doubles update = lr * buf;
        state_[0] = v;
        state_[1] = mean;
        state_[2] = buf;
        return update;
    }
    FO_VECTOR_KERNEL(rmsprop_centered_momentum, doubles, double, 3, 7, 7)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_schedule_free_adamw_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const
        double *c64_)
    {
        const fo_floats lr = c[0], share = c[1], of_d = c[2], correct = c[3], keep = c[4], w2 = c[5], eps = c[6], decay = c[7];
        fo_floats v = state_[0], z = state_[1];
        v = keep * v + w2 * g * g;
        fo_floats direction = correct * g / (fo_sqrt_floats(v) + eps) + decay * p;
        const fo_floats update = share * (p - z) + of_d * direction;
        state_[0] = v;
        state_[1] = z - lr * direction;
        return update;
    }
    FO_VECTOR_KERNEL(schedule_free_adamw, floats, float, 2, 3, 8)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_schedule_free_adamw_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c,
        const double *c64_)
    {
        const fo_doubles lr = c[0], share = c[1], of_d = c[2], correct = c[3], keep = c[4], w2 = c[5], eps = c[6], decay = c[7];
        fo_doubles v = state_[0], z = state_[1];
        v = keep * v + w2 * g * g;
        fo_doubles direction = correct * g / (fo_sqrt_doubles(v) + eps) + decay * p;
        const fo_doubles update = share * (p - z) + of_d * direction;
        state_[0] = v;
        state_[1] = z - lr * direction;
        return update;
    }
    FO_VECTOR_KERNEL(schedule_free_adamw, doubles, double, 2, 3, 8)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_yogi_of_floats(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], w2 = c[2], eps = c[3];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = v - w2 * g * g * fo_sign_floats(v - g * g);
        const fo_floats update = step_size * m / (fo_sqrt_floats(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(yogi, floats, float, 2, 3, 4)
    #endif
    #if defined(FO_HAS_DOUBLES)
    FO_INLINE fo_doubles fo_yogi_of_doubles(fo_doubles p, fo_doubles g, fo_doubles *state_, const fo_doubles *c, const double *c64_)
    {
        const fo_doubles step_size = c[0], w1 = c[1], w2 = c[2], eps = c[3];
        fo_doubles m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = v - w2 * g * g * fo_sign_doubles(v - g * g);
        const fo_doubles update = step_size * m / (fo_sqrt_doubles(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_VECTOR_KERNEL(yogi, doubles, double, 2, 3, 4)
    #endif
    #if defined(FO_HAS_FLOATS)
    FO_INLINE fo_floats fo_adabelief_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], root = c[4], eps = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * (g - m) * (g - m) + root;
        const fo_floats update = step_size * m / (fo_sqrt_narrow(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(adabelief, 2, 3, 2, 6, 0)
    FO_BF16_KERNEL(adabelief, 2, 3, 2, 6, 1)
    FO_INLINE fo_floats fo_adadelta_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], eps = c[3];
        fo_floats v = state_[0], moved = state_[1];
        v = keep * v + w * g * g;
        fo_floats delta = fo_sqrt_narrow(moved + eps) / fo_sqrt_narrow(v + eps) * g;
        moved = keep * moved + w * delta * delta;
        const fo_floats update = lr * delta;
        state_[0] = v;
        state_[1] = moved;
        return update;
    }
    FO_BF16_KERNEL(adadelta, 2, 3, 3, 4, 0)
    FO_BF16_KERNEL(adadelta, 2, 3, 3, 4, 1)
    FO_INLINE fo_floats fo_adafactor_vector_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats step_size = c[0], keep = c[1], w = c[2], more = c[3], floor = c[4];
        fo_floats v = state_[0];
        v = keep * v + w * g * g + more;
        const fo_floats update = step_size * g / fo_sqrt_narrow(fo_maximum_narrow(v, floor));
        state_[0] = v;
        return update;
    }
    FO_BF16_KERNEL(adafactor_vector, 1, 1, 1, 5, 0)
    FO_BF16_KERNEL(adafactor_vector, 1, 1, 1, 5, 1)
    FO_INLINE fo_floats fo_adagrad_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], root = c[1], eps = c[2];
        fo_floats sum = state_[0];
        sum = sum + g * g;
        const fo_floats update = step_size * g / (fo_sqrt_narrow(sum + root) + eps);
        state_[0] = sum;
        return update;
    }
    FO_BF16_KERNEL(adagrad, 1, 1, 1, 3, 0)
    FO_BF16_KERNEL(adagrad, 1, 1, 1, 3, 1)
    FO_INLINE fo_floats fo_adam_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], root = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = step_size * m / (fo_sqrt_narrow(v + root) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(adam, 2, 3, 2, 6, 0)
    FO_BF16_KERNEL(adam, 2, 3, 2, 6, 1)
    FO_INLINE fo_floats fo_amsgrad_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], seen = c[4], eps = c[5], root = c[6];
        fo_floats m = state_[0], v = state_[1], vmax = state_[2];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        vmax = fo_maximum_narrow(vmax, seen * v);
        const fo_floats update = step_size * m / (fo_sqrt_narrow(vmax + root) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = vmax;
        return update;
    }
    FO_BF16_KERNEL(amsgrad, 3, 7, 6, 7, 0)
    FO_BF16_KERNEL(amsgrad, 3, 7, 6, 7, 1)
    FO_INLINE fo_floats fo_adamax_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w = c[1], keep = c[2], inner = c[3], outer = c[4];
        fo_floats m = state_[0], largest = state_[1];
        m = m + w * (g - m);
        largest = fo_maximum_narrow(keep * largest, fo_fabs_narrow(g) + inner);
        const fo_floats update = step_size * m / (largest + outer);
        state_[0] = m;
        state_[1] = largest;
        return update;
    }
    FO_BF16_KERNEL(adamax, 2, 3, 2, 5, 0)
    FO_BF16_KERNEL(adamax, 2, 3, 2, 5, 1)
    FO_INLINE fo_floats fo_adan_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats of_m = c[0], of_d = c[1], w1 = c[2], w2 = c[3], ahead = c[4], keep = c[5], w3 = c[6], eps = c[7];
        const fo_floats root = c[8], before = c[9];
        fo_floats m = state_[0], d = state_[1], v = state_[2], last = state_[3];
        fo_floats change = fo_where_narrow(before > fo_number_narrow(0.0), g - last, fo_number_narrow(0.0));
        fo_floats look = g + ahead * change;
        m = m + w1 * (g - m);
        d = d + w2 * (change - d);
        v = keep * v + w3 * look * look;
        const fo_floats update = (of_m * m + of_d * d) / (fo_sqrt_narrow(v + root) + eps);
        state_[0] = m;
        state_[1] = d;
        state_[2] = v;
        state_[3] = g;
        return update;
    }
    FO_BF16_KERNEL(adan, 4, 15, 4, 10, 0)
    FO_BF16_KERNEL(adan, 4, 15, 4, 10, 1)
    FO_INLINE fo_floats fo_ademamix_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats fast = c[0], slow = c[1], w1 = c[2], keep = c[3], w2 = c[4], w3 = c[5], eps = c[6];
        fo_floats m = state_[0], v = state_[1], m2 = state_[2];
        m = m + w1 * (g - m);
        m2 = m2 + w3 * (g - m2);
        v = keep * v + w2 * g * g;
        const fo_floats update = (fast * m + slow * m2) / (fo_sqrt_narrow(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = m2;
        return update;
    }
    FO_BF16_KERNEL(ademamix, 3, 7, 2, 7, 0)
    FO_BF16_KERNEL(ademamix, 3, 7, 2, 7, 1)
    FO_INLINE fo_floats fo_adopt_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5];
        fo_floats m = state_[0], v = state_[1];
        fo_floats scaled = fo_minimum_narrow(fo_maximum_narrow(g / fo_maximum_narrow(fo_sqrt_narrow(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = lr * m;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(adopt, 2, 3, 2, 6, 0)
    FO_BF16_KERNEL(adopt, 2, 3, 2, 6, 1)
    FO_INLINE fo_floats fo_adopt_decoupled_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5], decay = c[6];
        fo_floats m = state_[0], v = state_[1];
        fo_floats scaled = fo_minimum_narrow(fo_maximum_narrow(g / fo_maximum_narrow(fo_sqrt_narrow(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = lr * m + decay * p;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(adopt_decoupled, 2, 3, 2, 7, 0)
    FO_BF16_KERNEL(adopt_decoupled, 2, 3, 2, 7, 1)
    FO_INLINE fo_floats fo_asgd_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], decay = c[1], share = c[2];
        fo_floats average = state_[0];
        fo_floats move = decay * p + lr * g;
        average = average + share * (p - move - average);
        const fo_floats update = move;
        state_[0] = average;
        return update;
    }
    FO_BF16_KERNEL(asgd, 1, 1, 0, 3, 0)
    FO_BF16_KERNEL(asgd, 1, 1, 0, 3, 1)
    FO_INLINE fo_floats fo_ftrl_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats rate = c[0], beta = c[1], l1 = c[2], l2 = c[3];
        fo_floats z = state_[0], n2 = state_[1];
        fo_floats before = fo_sqrt_narrow(n2);
        n2 = n2 + g * g;
        fo_floats after = fo_sqrt_narrow(n2);
        z = z + g - rate * (after - before) * p;
        fo_floats target = fo_where_narrow(fo_fabs_narrow(z) > l1, (fo_copysign_narrow(l1, z) - z) / (rate * after + beta + l2),
            fo_number_narrow(0.0));
        const fo_floats update = p - target;
        state_[0] = z;
        state_[1] = n2;
        return update;
    }
    FO_BF16_KERNEL(ftrl, 2, 3, 2, 4, 0)
    FO_BF16_KERNEL(ftrl, 2, 3, 2, 4, 1)
    FO_INLINE fo_floats fo_lion_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], w1 = c[1], w2 = c[2];
        fo_floats m = state_[0];
        fo_floats direction = m + w1 * (g - m);
        const fo_floats update = lr * fo_sign_narrow(direction);
        state_[0] = m + w2 * (g - m);
        return update;
    }
    FO_BF16_KERNEL(lion, 1, 1, 0, 3, 0)
    FO_BF16_KERNEL(lion, 1, 1, 0, 3, 1)
    FO_INLINE fo_floats fo_nadam_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats of_g = c[0], of_m = c[1], w1 = c[2], keep = c[3], w2 = c[4], eps = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = (of_g * g + of_m * m) / (fo_sqrt_narrow(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(nadam, 2, 3, 2, 6, 0)
    FO_BF16_KERNEL(nadam, 2, 3, 2, 6, 1)
    FO_INLINE fo_floats fo_radam_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], adapt = c[5];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const fo_floats update = step_size * m / fo_where_narrow(adapt > fo_number_narrow(0.0), fo_sqrt_narrow(v) + eps,
            fo_number_narrow(1.0));
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(radam, 2, 3, 2, 6, 0)
    FO_BF16_KERNEL(radam, 2, 3, 2, 6, 1)
    FO_INLINE fo_floats fo_rmsprop_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_floats v = state_[0];
        v = keep * v + w * g * g;
        const fo_floats update = lr * g / (fo_sqrt_narrow(v + root) + eps);
        state_[0] = v;
        return update;
    }
    FO_BF16_KERNEL(rmsprop, 1, 1, 1, 5, 0)
    FO_BF16_KERNEL(rmsprop, 1, 1, 1, 5, 1)
    FO_INLINE fo_floats fo_rmsprop_centered_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        fo_floats v = state_[0], mean = state_[1];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        const fo_floats update = lr * g / (fo_sqrt_narrow(fo_maximum_narrow(v - mean * mean, fo_number_narrow(0.0)) + root) + eps);
        state_[0] = v;
        state_[1] = mean;
        return update;
    }
    FO_BF16_KERNEL(rmsprop_centered, 2, 3, 1, 5, 0)
    FO_BF16_KERNEL(rmsprop_centered, 2, 3, 1, 5, 1)
    FO_INLINE fo_floats fo_rmsprop_momentum_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double
        *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_floats v = state_[0], buf = state_[1];
        v = keep * v + w * g * g;
        buf = roll * buf + take * g / (fo_sqrt_narrow(v + root) + eps);
        const fo_floats update = lr * buf;
        state_[0] = v;
        state_[1] = buf;
        return update;
    }
    FO_BF16_KERNEL(rmsprop_momentum, 2, 3, 1, 7, 0)
    FO_BF16_KERNEL(rmsprop_momentum, 2, 3, 1, 7, 1)
    FO_INLINE fo_floats fo_rmsprop_centered_momentum_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c,
        const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        fo_floats v = state_[0], mean = state_[1], buf = state_[2];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        buf = roll * buf + take * g / (fo_sqrt_narrow(fo_maximum_narrow(v - mean * mean, fo_number_narrow(0.0)) + root) + eps);
        const fo_floats update = lr * buf;
        state_[0] = v;
        state_[1] = mean;
        state_[2] = buf;
        return update;
    }
    FO_BF16_KERNEL(rmsprop_centered_momentum, 3, 7, 1, 7, 0)
    FO_BF16_KERNEL(rmsprop_centered_momentum, 3, 7, 1, 7, 1)
    FO_INLINE fo_floats fo_rprop_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats start = c[0], down = c[1], up = c[2], least = c[3], most = c[4];
        fo_floats last = state_[0], size = state_[1];
        fo_floats agree = fo_sign_narrow(g) * last;
        fo_floats factor = fo_where_narrow(agree > fo_number_narrow(0.0), up, fo_number_narrow(1.0)) * fo_where_narrow(agree <
            fo_number_narrow(0.0), down, fo_number_narrow(1.0));
        size = fo_minimum_narrow(fo_maximum_narrow(factor * fo_where_narrow(size > fo_number_narrow(0.0), size, start), least),
            most);
        last = fo_where_narrow(agree < fo_number_narrow(0.0), fo_number_narrow(0.0), g);
        const fo_floats update = size * fo_sign_narrow(last);
        state_[0] = last;
        state_[1] = size;
        return update;
    }
    FO_BF16_KERNEL(rprop, 2, 3, 2, 5, 0)
    FO_BF16_KERNEL(rprop, 2, 3, 2, 5, 1)
    FO_INLINE fo_floats fo_momentum_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], keep = c[1], take = c[2];
        fo_floats buf = state_[0];
        buf = keep * buf + take * g;
        const fo_floats update = lr * buf;
        state_[0] = buf;
        return update;
    }
    FO_BF16_KERNEL(momentum, 1, 1, 0, 3, 0)
    FO_BF16_KERNEL(momentum, 1, 1, 0, 3, 1)
    FO_INLINE fo_floats fo_nesterov_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats keep = c[0], take = c[1], lr = c[2], ahead = c[3];
        fo_floats buf = state_[0];
        buf = keep * buf + take * g;
        const fo_floats update = lr * g + ahead * buf;
        state_[0] = buf;
        return update;
    }
    FO_BF16_KERNEL(nesterov, 1, 1, 0, 4, 0)
    FO_BF16_KERNEL(nesterov, 1, 1, 0, 4, 1)
    FO_INLINE fo_floats fo_signum_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats lr = c[0], w = c[1];
        fo_floats buf = state_[0];
        buf = buf + w * (g - buf);
        const fo_floats update = lr * fo_sign_narrow(buf);
        state_[0] = buf;
        return update;
    }
    FO_BF16_KERNEL(signum, 1, 1, 0, 2, 0)
    FO_BF16_KERNEL(signum, 1, 1, 0, 2, 1)
    FO_INLINE fo_floats fo_yogi_of_narrow(fo_floats p, fo_floats g, fo_floats *state_, const fo_floats *c, const double *c64_)
    {
        const fo_floats step_size = c[0], w1 = c[1], w2 = c[2], eps = c[3];
        fo_floats m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = v - w2 * g * g * fo_sign_narrow(v - g * g);
        const fo_floats update = step_size * m / (fo_sqrt_narrow(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
    FO_BF16_KERNEL(yogi, 2, 3, 2, 4, 0)
    FO_BF16_KERNEL(yogi, 2, 3, 2, 4, 1)
    #endif
    """
    kernel_t adabelief_floats "FO_OF_FLOATS(fo_adabelief_floats)"
    kernel_t adabelief_doubles "FO_OF_DOUBLES(fo_adabelief_doubles)"
    kernel_t adadelta_floats "FO_OF_FLOATS(fo_adadelta_floats)"
    kernel_t adadelta_doubles "FO_OF_DOUBLES(fo_adadelta_doubles)"
    kernel_t adafactor_floats "FO_OF_FLOATS(fo_adafactor_floats)"
    kernel_t adafactor_doubles "FO_OF_DOUBLES(fo_adafactor_doubles)"
    kernel_t adafactor_vector_floats "FO_OF_FLOATS(fo_adafactor_vector_floats)"
    kernel_t adafactor_vector_doubles "FO_OF_DOUBLES(fo_adafactor_vector_doubles)"
    kernel_t adagrad_floats "FO_OF_FLOATS(fo_adagrad_floats)"
    kernel_t adagrad_doubles "FO_OF_DOUBLES(fo_adagrad_doubles)"
    kernel_t adam_floats "FO_OF_FLOATS(fo_adam_floats)"
    kernel_t adam_doubles "FO_OF_DOUBLES(fo_adam_doubles)"
    kernel_t amsgrad_floats "FO_OF_FLOATS(fo_amsgrad_floats)"
    kernel_t amsgrad_doubles "FO_OF_DOUBLES(fo_amsgrad_doubles)"
    kernel_t adan_floats "FO_OF_FLOATS(fo_adan_floats)"
    kernel_t adan_doubles "FO_OF_DOUBLES(fo_adan_doubles)"
    kernel_t ademamix_floats "FO_OF_FLOATS(fo_ademamix_floats)"
    kernel_t ademamix_doubles "FO_OF_DOUBLES(fo_ademamix_doubles)"
    kernel_t adopt_floats "FO_OF_FLOATS(fo_adopt_floats)"
    kernel_t adopt_doubles "FO_OF_DOUBLES(fo_adopt_doubles)"
    kernel_t adopt_decoupled_floats "FO_OF_FLOATS(fo_adopt_decoupled_floats)"
    kernel_t adopt_decoupled_doubles "FO_OF_DOUBLES(fo_adopt_decoupled_doubles)"
    kernel_t ftrl_floats "FO_OF_FLOATS(fo_ftrl_floats)"
    kernel_t ftrl_doubles "FO_OF_DOUBLES(fo_ftrl_doubles)"
    kernel_t nadam_floats "FO_OF_FLOATS(fo_nadam_floats)"
    kernel_t nadam_doubles "FO_OF_DOUBLES(fo_nadam_doubles)"
    kernel_t prodigy_floats "FO_OF_FLOATS(fo_prodigy_floats)"
    kernel_t prodigy_doubles "FO_OF_DOUBLES(fo_prodigy_doubles)"
    kernel_t prodigy_coupled_floats "FO_OF_FLOATS(fo_prodigy_coupled_floats)"
    kernel_t prodigy_coupled_doubles "FO_OF_DOUBLES(fo_prodigy_coupled_doubles)"
    kernel_t radam_floats "FO_OF_FLOATS(fo_radam_floats)"
    kernel_t radam_doubles "FO_OF_DOUBLES(fo_radam_doubles)"
    kernel_t rmsprop_floats "FO_OF_FLOATS(fo_rmsprop_floats)"
    kernel_t rmsprop_doubles "FO_OF_DOUBLES(fo_rmsprop_doubles)"
    kernel_t rmsprop_centered_floats "FO_OF_FLOATS(fo_rmsprop_centered_floats)"
    kernel_t rmsprop_centered_doubles "FO_OF_DOUBLES(fo_rmsprop_centered_doubles)"
    kernel_t rmsprop_momentum_floats "FO_OF_FLOATS(fo_rmsprop_momentum_floats)"
    kernel_t rmsprop_momentum_doubles "FO_OF_DOUBLES(fo_rmsprop_momentum_doubles)"
    kernel_t rmsprop_centered_momentum_floats "FO_OF_FLOATS(fo_rmsprop_centered_momentum_floats)"
    kernel_t rmsprop_centered_momentum_doubles "FO_OF_DOUBLES(fo_rmsprop_centered_momentum_doubles)"
    kernel_t schedule_free_adamw_floats "FO_OF_FLOATS(fo_schedule_free_adamw_floats)"
    kernel_t schedule_free_adamw_doubles "FO_OF_DOUBLES(fo_schedule_free_adamw_doubles)"
    kernel_t yogi_floats "FO_OF_FLOATS(fo_yogi_floats)"
    kernel_t yogi_doubles "FO_OF_DOUBLES(fo_yogi_doubles)"
    narrow_kernel_t adabelief_bf16_0 "FO_OF_FLOATS(fo_adabelief_bf16_0)"
    narrow_kernel_t adabelief_bf16_1 "FO_OF_FLOATS(fo_adabelief_bf16_1)"
    narrow_kernel_t adadelta_bf16_0 "FO_OF_FLOATS(fo_adadelta_bf16_0)"
    narrow_kernel_t adadelta_bf16_1 "FO_OF_FLOATS(fo_adadelta_bf16_1)"
    narrow_kernel_t adafactor_vector_bf16_0 "FO_OF_FLOATS(fo_adafactor_vector_bf16_0)"
    narrow_kernel_t adafactor_vector_bf16_1 "FO_OF_FLOATS(fo_adafactor_vector_bf16_1)"
    narrow_kernel_t adagrad_bf16_0 "FO_OF_FLOATS(fo_adagrad_bf16_0)"
    narrow_kernel_t adagrad_bf16_1 "FO_OF_FLOATS(fo_adagrad_bf16_1)"
    narrow_kernel_t adam_bf16_0 "FO_OF_FLOATS(fo_adam_bf16_0)"
    narrow_kernel_t adam_bf16_1 "FO_OF_FLOATS(fo_adam_bf16_1)"
    narrow_kernel_t amsgrad_bf16_0 "FO_OF_FLOATS(fo_amsgrad_bf16_0)"
    narrow_kernel_t amsgrad_bf16_1 "FO_OF_FLOATS(fo_amsgrad_bf16_1)"
    narrow_kernel_t adamax_bf16_0 "FO_OF_FLOATS(fo_adamax_bf16_0)"
    narrow_kernel_t adamax_bf16_1 "FO_OF_FLOATS(fo_adamax_bf16_1)"
    narrow_kernel_t adan_bf16_0 "FO_OF_FLOATS(fo_adan_bf16_0)"
    narrow_kernel_t adan_bf16_1 "FO_OF_FLOATS(fo_adan_bf16_1)"
    narrow_kernel_t ademamix_bf16_0 "FO_OF_FLOATS(fo_ademamix_bf16_0)"
    narrow_kernel_t ademamix_bf16_1 "FO_OF_FLOATS(fo_ademamix_bf16_1)"
    narrow_kernel_t adopt_bf16_0 "FO_OF_FLOATS(fo_adopt_bf16_0)"
    narrow_kernel_t adopt_bf16_1 "FO_OF_FLOATS(fo_adopt_bf16_1)"
    narrow_kernel_t adopt_decoupled_bf16_0 "FO_OF_FLOATS(fo_adopt_decoupled_bf16_0)"
    narrow_kernel_t adopt_decoupled_bf16_1 "FO_OF_FLOATS(fo_adopt_decoupled_bf16_1)"
    narrow_kernel_t asgd_bf16_0 "FO_OF_FLOATS(fo_asgd_bf16_0)"
    narrow_kernel_t asgd_bf16_1 "FO_OF_FLOATS(fo_asgd_bf16_1)"
    narrow_kernel_t ftrl_bf16_0 "FO_OF_FLOATS(fo_ftrl_bf16_0)"
    narrow_kernel_t ftrl_bf16_1 "FO_OF_FLOATS(fo_ftrl_bf16_1)"
    narrow_kernel_t lion_bf16_0 "FO_OF_FLOATS(fo_lion_bf16_0)"
    narrow_kernel_t lion_bf16_1 "FO_OF_FLOATS(fo_lion_bf16_1)"
    narrow_kernel_t nadam_bf16_0 "FO_OF_FLOATS(fo_nadam_bf16_0)"
    narrow_kernel_t nadam_bf16_1 "FO_OF_FLOATS(fo_nadam_bf16_1)"
    narrow_kernel_t radam_bf16_0 "FO_OF_FLOATS(fo_radam_bf16_0)"
    narrow_kernel_t radam_bf16_1 "FO_OF_FLOATS(fo_radam_bf16_1)"
    narrow_kernel_t rmsprop_bf16_0 "FO_OF_FLOATS(fo_rmsprop_bf16_0)"
    narrow_kernel_t rmsprop_bf16_1 "FO_OF_FLOATS(fo_rmsprop_bf16_1)"
    narrow_kernel_t rmsprop_centered_bf16_0 "FO_OF_FLOATS(fo_rmsprop_centered_bf16_0)"
    narrow_kernel_t rmsprop_centered_bf16_1 "FO_OF_FLOATS(fo_rmsprop_centered_bf16_1)"
    narrow_kernel_t rmsprop_momentum_bf16_0 "FO_OF_FLOATS(fo_rmsprop_momentum_bf16_0)"
    narrow_kernel_t rmsprop_momentum_bf16_1 "FO_OF_FLOATS(fo_rmsprop_momentum_bf16_1)"
    narrow_kernel_t rmsprop_centered_momentum_bf16_0 "FO_OF_FLOATS(fo_rmsprop_centered_momentum_bf16_0)"
    narrow_kernel_t rmsprop_centered_momentum_bf16_1 "FO_OF_FLOATS(fo_rmsprop_centered_momentum_bf16_1)"
    narrow_kernel_t rprop_bf16_0 "FO_OF_FLOATS(fo_rprop_bf16_0)"
    narrow_kernel_t rprop_bf16_1 "FO_OF_FLOATS(fo_rprop_bf16_1)"
    narrow_kernel_t momentum_bf16_0 "FO_OF_FLOATS(fo_momentum_bf16_0)"
    narrow_kernel_t momentum_bf16_1 "FO_OF_FLOATS(fo_momentum_bf16_1)"
    narrow_kernel_t nesterov_bf16_0 "FO_OF_FLOATS(fo_nesterov_bf16_0)"
    narrow_kernel_t nesterov_bf16_1 "FO_OF_FLOATS(fo_nesterov_bf16_1)"
    narrow_kernel_t signum_bf16_0 "FO_OF_FLOATS(fo_signum_bf16_0)"
    narrow_kernel_t signum_bf16_1 "FO_OF_FLOATS(fo_signum_bf16_1)"
    narrow_kernel_t yogi_bf16_0 "FO_OF_FLOATS(fo_yogi_bf16_0)"
    narrow_kernel_t yogi_bf16_1 "FO_OF_FLOATS(fo_yogi_bf16_1)"


cdef void adabelief_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                            double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4]
    cdef double c2 = sqrt(1.0 - power(k_, 2, beta2, t))
    c[0] = lr * c2 / (1.0 - power(k_, 1, beta1, t))  # step_size
    c[1] = 1.0 - beta1  # w1
    c[2] = beta2  # keep
    c[3] = 1.0 - beta2  # w2
    c[4] = eps_root  # root
    c[5] = eps * c2  # eps


cdef inline void adabelief(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                           real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by AdaBelief (Zhuang et al., 2020, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, update
    cdef real step_size = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], root = <real> c[4]
    cdef real eps = <real> c[5]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = keep * v + w2 * (g - m) * (g - m) + root
        update = step_size * m / (sqrt(v) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void adabelief_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adabelief[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adabelief_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adabelief[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void adadelta_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double lr = h[0], rho = h[1], eps = h[2]
    c[0] = lr
    c[1] = rho  # keep
    c[2] = 1.0 - rho  # w
    c[3] = eps


cdef inline void adadelta(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict moved_,
                          real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Adadelta (Zeiler, 2012, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, v, moved, delta, update
    cdef real lr = <real> c[0], keep = <real> c[1], w = <real> c[2], eps = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        moved = moved_[i]
        v = keep * v + w * g * g
        delta = sqrt(moved + eps) / sqrt(v + eps) * g
        moved = keep * moved + w * delta * delta
        update = lr * delta
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v
        moved_[i] = moved

cdef void adadelta_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adadelta[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adadelta_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adadelta[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void adafactor_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                            double *c) noexcept nogil:
    cdef double param = sums[0], param_exponent = sums[1], updates = sums[2]
    cdef double lr = h[0], eps1 = h[2], eps2 = h[3], d = h[4], eps_inside = h[5]
    cdef double rate = lr if lr < 1.0 / sqrt(<double> t) else 1.0 / sqrt(<double> t)
    cdef double size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    cdef double length = sqrt(updates) / d
    c[0] = rate * size / (1.0 if length <= 1 else length)  # step_size
    c[1] = 0.0 if eps_inside else eps1 * eps1  # floor


cdef void adafactor_terms_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                  double *c) noexcept nogil:
    cdef double beta2_decay = h[1], eps1 = h[2], eps_inside = h[5]
    c[0] = exp(beta2_decay * log(<double> t))  # w
    c[1] = 0.0 if eps_inside else eps1  # least
    c[2] = eps1 if eps_inside else 0.0  # more


cdef inline void adafactor_terms(double *restrict out_, const real *restrict g_, Py_ssize_t n,
                                 const double *c) noexcept nogil:
    """Return squares, whose means over rows and columns are averaged."""
    cdef Py_ssize_t i
    cdef double g
    cdef double more = c[2]
    for i in range(n):
        g = g_[i]
        out_[i] = g * g + more

cdef void adafactor_terms_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_terms[float](<double *> a[UPDATE], <float *> a[1], n, c)

cdef void adafactor_terms_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_terms[double](<double *> a[UPDATE], <double *> a[1], n, c)


cdef void adafactor_sums_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                 double *c) noexcept nogil:
    cdef double eps1 = h[2], eps_inside = h[5]
    c[0] = 0.0 if eps_inside else eps1 * eps1  # floor


cdef inline void adafactor_sums(double *restrict out_, const real *restrict p_, const real *restrict g_,
                                const real *restrict col_, const real *restrict ratio_, Py_ssize_t n,
                                const double *c) noexcept nogil:
    """Sum the squares of the unscaled update and of the parameter."""
    cdef Py_ssize_t i
    cdef double p, g, col, ratio
    cdef double floor = c[0]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        col = col_[i]
        ratio = ratio_[i]
        if real is float:
            out_[i] = p * p
        else:
            out_[i] = p
        out_[BLOCK + i] = g * g / maximum(ratio * col, floor)

cdef void adafactor_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[3], <float *> a[4], n, c)

cdef void adafactor_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[3], <double *> a[4], n,
                           c)


cdef inline void adafactor(real *restrict p_, const real *restrict g_, const real *restrict row_,
                           const real *restrict col_, const real *restrict ratio_, real *restrict u_, Py_ssize_t n,
                           const double *c) noexcept nogil:
    """Update by Adafactor (Shazeer and Stern, 2018, algorithm 4), with a factored second moment."""
    cdef Py_ssize_t i
    cdef real p, g, col, ratio, update
    cdef real step_size = <real> c[0], floor = <real> c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        col = col_[i]
        ratio = ratio_[i]
        update = step_size * g / sqrt(maximum(ratio * col, floor))
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update

cdef void adafactor_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4],
                     <float *> a[UPDATE], n, c)

cdef void adafactor_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4],
                      <double *> a[UPDATE], n, c)


cdef void adafactor_vector_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                   double *c) noexcept nogil:
    cdef double param = sums[0], param_exponent = sums[1], updates = sums[2]
    cdef double lr = h[0], beta2_decay = h[1], eps1 = h[2], eps2 = h[3], d = h[4], eps_inside = h[5]
    cdef double rate = lr if lr < 1.0 / sqrt(<double> t) else 1.0 / sqrt(<double> t)
    cdef double size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    cdef double length = sqrt(updates) / d
    cdef double w = exp(beta2_decay * log(<double> t))
    c[0] = rate * size / (1.0 if length <= 1 else length)  # step_size
    c[1] = 1.0 - w  # keep
    c[2] = w
    c[3] = w * eps1 if eps_inside else 0.0  # more
    c[4] = 0.0 if eps_inside else eps1 * eps1  # floor


cdef void adafactor_vector_sums_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                        double *c) noexcept nogil:
    cdef double beta2_decay = h[1], eps1 = h[2], eps_inside = h[5]
    cdef double w = exp(beta2_decay * log(<double> t))
    c[0] = 1.0 - w  # keep
    c[1] = w
    c[2] = w * eps1 if eps_inside else 0.0  # more
    c[3] = 0.0 if eps_inside else eps1 * eps1  # floor


cdef inline void adafactor_vector_sums(double *restrict out_, const real *restrict p_, const real *restrict g_,
                                       const real *restrict v_, Py_ssize_t n, const double *c) noexcept nogil:
    """Sum as `adafactor_sums`, with the new second moment."""
    cdef Py_ssize_t i
    cdef double p, g, v
    cdef double keep = c[0], w = c[1], more = c[2], floor = c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        v = keep * v + w * g * g + more
        if real is float:
            out_[i] = p * p
        else:
            out_[i] = p
        out_[BLOCK + i] = g * g / maximum(v, floor)

cdef void adafactor_vector_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_vector_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void adafactor_vector_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_vector_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef inline void adafactor_vector(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict u_,
                                  Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Adafactor without factors, for arrays of fewer than two axes (Shazeer and Stern, 2018, algorithm 5)."""
    cdef Py_ssize_t i
    cdef real p, g, v, update
    cdef real step_size = <real> c[0], keep = <real> c[1], w = <real> c[2], more = <real> c[3], floor = <real> c[4]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        v = keep * v + w * g * g + more
        update = step_size * g / sqrt(maximum(v, floor))
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v

cdef void adafactor_vector_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_vector[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void adafactor_vector_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adafactor_vector[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void adagrad_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    cdef double lr = h[0], lr_decay = h[1], eps = h[2], eps_inside = h[3]
    c[0] = lr / (1.0 + (<double> t - 1.0) * lr_decay)  # step_size
    c[1] = eps if eps_inside else 0.0  # root
    c[2] = 0.0 if eps_inside else eps  # eps


cdef inline void adagrad(real *restrict p_, const real *restrict g_, real *restrict sum_, real *restrict u_,
                         Py_ssize_t n, const double *c) noexcept nogil:
    """Update by AdaGrad (Duchi et al., 2011, section 1.1, diagonal)."""
    cdef Py_ssize_t i
    cdef real p, g, sum, update
    cdef real step_size = <real> c[0], root = <real> c[1], eps = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        sum = sum_[i]
        sum = sum + g * g
        update = step_size * g / (sqrt(sum + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        sum_[i] = sum

cdef void adagrad_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adagrad[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void adagrad_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adagrad[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void adam_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4], eps_hat = h[5]
    cdef double correct = 1.0 - power(k_, 2, beta2, t)
    cdef double c2 = sqrt(correct)
    c[0] = lr * c2 / (1.0 - power(k_, 1, beta1, t))  # step_size
    c[1] = 1.0 - beta1  # w1
    c[2] = beta2  # keep
    c[3] = 1.0 - beta2  # w2
    c[4] = eps if eps_hat else eps * c2  # eps
    c[5] = eps_root * correct  # root


cdef inline void adam(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                      real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Adam (Kingma and Ba, 2015, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, update
    cdef real step_size = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], eps = <real> c[4]
    cdef real root = <real> c[5]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = keep * v + w2 * g * g
        update = step_size * m / (sqrt(v + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void adam_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adam[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adam_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adam[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void amsgrad_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4], eps_hat = h[5], max_corrected = h[6]
    cdef double correct = 1.0 - power(k_, 2, beta2, t)
    cdef double c2 = 1.0 if max_corrected else sqrt(correct)
    c[0] = lr * c2 / (1.0 - power(k_, 1, beta1, t))  # step_size
    c[1] = 1.0 - beta1  # w1
    c[2] = beta2  # keep
    c[3] = 1.0 - beta2  # w2
    c[4] = 1.0 / correct if max_corrected else 1.0  # seen
    c[5] = eps if eps_hat else eps * c2  # eps
    c[6] = eps_root * c2 * c2  # root


cdef inline void amsgrad(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                         real *restrict vmax_, real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, vmax, update
    cdef real step_size = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], seen = <real> c[4]
    cdef real eps = <real> c[5], root = <real> c[6]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        vmax = vmax_[i]
        m = m + w1 * (g - m)
        v = keep * v + w2 * g * g
        vmax = maximum(vmax, seen * v)
        update = step_size * m / (sqrt(vmax + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v
        vmax_[i] = vmax

cdef void amsgrad_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    amsgrad[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], <float *> a[UPDATE],
                   n, c)

cdef void amsgrad_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    amsgrad[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4],
                    <double *> a[UPDATE], n, c)


cdef void adamax_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                         double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_inside = h[4]
    c[0] = lr / (1.0 - power(k_, 1, beta1, t))  # step_size
    c[1] = 1.0 - beta1  # w
    c[2] = beta2  # keep
    c[3] = eps if eps_inside else 0.0  # inner
    c[4] = 0.0 if eps_inside else eps  # outer


cdef inline void adamax(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict largest_,
                        real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by AdaMax (Kingma and Ba, 2015, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, largest, update
    cdef real step_size = <real> c[0], w = <real> c[1], keep = <real> c[2], inner = <real> c[3], outer = <real> c[4]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        largest = largest_[i]
        m = m + w * (g - m)
        largest = maximum(keep * largest, fabs(g) + inner)
        update = step_size * m / (largest + outer)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        largest_[i] = largest

cdef void adamax_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adamax[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adamax_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adamax[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void adan_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], beta3 = h[3], eps = h[4], eps_root = h[5], short_look = h[6]
    cdef double correct = 1.0 - power(k_, 3, beta3, t)
    cdef double c3 = sqrt(correct)
    cdef double step_size = lr * c3
    cdef double ahead = 1.0 - beta2 if short_look else beta2
    c[0] = step_size / (1.0 - power(k_, 1, beta1, t))  # of_m
    c[1] = step_size * ahead / (1.0 - power(k_, 2, beta2, t))  # of_d
    c[2] = 1.0 - beta1  # w1
    c[3] = 1.0 - beta2  # w2
    c[4] = ahead
    c[5] = beta3  # keep
    c[6] = 1.0 - beta3  # w3
    c[7] = eps * c3  # eps
    c[8] = eps_root * correct  # root
    c[9] = 1.0 if t > 1 else 0.0  # before


cdef inline void adan(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict d_,
                      real *restrict v_, real *restrict last_, real *restrict u_, Py_ssize_t n,
                      const double *c) noexcept nogil:
    """Update by Adan (Xie et al., 2022, algorithm 1, with bias corrections)."""
    cdef Py_ssize_t i
    cdef real p, g, m, d, v, last, change, look, update
    cdef real of_m = <real> c[0], of_d = <real> c[1], w1 = <real> c[2], w2 = <real> c[3], ahead = <real> c[4]
    cdef real keep = <real> c[5], w3 = <real> c[6], eps = <real> c[7], root = <real> c[8], before = <real> c[9]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        d = d_[i]
        v = v_[i]
        last = last_[i]
        change = where(before > <real> 0, g - last, <real> 0)
        look = g + ahead * change
        m = m + w1 * (g - m)
        d = d + w2 * (change - d)
        v = keep * v + w3 * look * look
        update = (of_m * m + of_d * d) / (sqrt(v + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        d_[i] = d
        v_[i] = v
        last_[i] = g

cdef void adan_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adan[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], <float *> a[5],
                <float *> a[UPDATE], n, c)

cdef void adan_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adan[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4], <double *> a[5],
                 <double *> a[UPDATE], n, c)


cdef void ademamix_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], beta3 = h[3], alpha = h[4], warmup = h[5], eps = h[6]
    cdef double part = <double> t / warmup if <double> t < warmup else 1.0
    cdef double fast = log(beta1)
    cdef double slow = log(beta3)
    cdef double now = exp(fast * slow / ((1.0 - part) * slow + part * fast)) if part < 1 else beta3
    cdef double c2 = sqrt(1.0 - power(k_, 2, beta2, t))
    c[0] = lr * c2 / (1.0 - power(k_, 1, beta1, t))  # fast
    c[1] = lr * c2 * alpha * part  # slow
    c[2] = 1.0 - beta1  # w1
    c[3] = beta2  # keep
    c[4] = 1.0 - beta2  # w2
    c[5] = 1.0 - (now if now < beta3 else beta3)  # w3
    c[6] = eps * c2  # eps


cdef inline void ademamix(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                          real *restrict m2_, real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by AdEMAMix (Pagliardini et al., 2024, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, m2, update
    cdef real fast = <real> c[0], slow = <real> c[1], w1 = <real> c[2], keep = <real> c[3], w2 = <real> c[4]
    cdef real w3 = <real> c[5], eps = <real> c[6]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m2 = m2_[i]
        m = m + w1 * (g - m)
        m2 = m2 + w3 * (g - m2)
        v = keep * v + w2 * g * g
        update = (fast * m + slow * m2) / (sqrt(v) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v
        m2_[i] = m2

cdef void ademamix_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ademamix[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], <float *> a[UPDATE],
                    n, c)

cdef void ademamix_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ademamix[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4],
                     <double *> a[UPDATE], n, c)


cdef void adopt_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3]
    c[0] = lr if t > 1 else 0.0  # lr
    c[1] = 1.0 - beta1 if t > 1 else 0.0  # w1
    c[2] = beta2 if t > 1 else 0.0  # keep
    c[3] = 1.0 - beta2 if t > 1 else 1.0  # w2
    c[4] = eps
    c[5] = sqrt(sqrt(<double> t - 1.0))  # most


cdef inline void adopt(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                       real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by ADOPT (Taniguchi et al., 2024, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, scaled, update
    cdef real lr = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], eps = <real> c[4]
    cdef real most = <real> c[5]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
        m = m + w1 * (scaled - m)
        v = keep * v + w2 * g * g
        update = lr * m
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void adopt_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adopt[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adopt_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adopt[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void adopt_decoupled_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                  double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], weight_decay = h[4]
    c[0] = lr if t > 1 else 0.0  # lr
    c[1] = 1.0 - beta1 if t > 1 else 0.0  # w1
    c[2] = beta2 if t > 1 else 0.0  # keep
    c[3] = 1.0 - beta2 if t > 1 else 1.0  # w2
    c[4] = eps
    c[5] = sqrt(sqrt(<double> t - 1.0))  # most
    c[6] = lr * weight_decay if t > 1 else 0.0  # decay


cdef inline void adopt_decoupled(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                                 real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by ADOPT (Taniguchi et al., 2024, algorithm 2), with decoupled weight decay."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, scaled, update
    cdef real lr = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], eps = <real> c[4]
    cdef real most = <real> c[5], decay = <real> c[6]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
        m = m + w1 * (scaled - m)
        v = keep * v + w2 * g * g
        update = lr * m + decay * p
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void adopt_decoupled_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adopt_decoupled[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void adopt_decoupled_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adopt_decoupled[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n,
                            c)


cdef void asgd_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double eta = carry[0]
    cdef double lr = h[0], lambd = h[1], alpha = h[2], t0 = h[3]
    cdef double now = lr if t == 1 else eta
    cdef double after = lr / exp(alpha * log(1.0 + lambd * lr * <double> t))
    c[0] = now  # lr
    c[1] = lambd * now  # decay
    c[2] = 1.0 / (<double> t - 1.0 - t0) if <double> t - 1.0 - t0 > 1.0 else 1.0  # share
    carry[0] = after  # eta


cdef inline void asgd(real *restrict p_, const real *restrict g_, real *restrict average_, real *restrict u_,
                      Py_ssize_t n, const double *c) noexcept nogil:
    """Update by averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou, 2010)."""
    cdef Py_ssize_t i
    cdef real p, g, average, move, update
    cdef real lr = <real> c[0], decay = <real> c[1], share = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        average = average_[i]
        move = decay * p + lr * g
        average = average + share * (p - move - average)
        update = move
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        average_[i] = average

cdef void asgd_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    asgd[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void asgd_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    asgd[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void dog_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                      double *c) noexcept nogil:
    cdef double farthest = carry[0], seen = carry[1]
    cdef double grads = sums[0], way = sums[1], way_exponent = sums[2], param = sums[3], param_exponent = sums[4]
    cdef double lr = h[0], reps_rel = h[1], eps = h[2]
    cdef double first = reps_rel * (1.0 + ldexp(param, param_exponent))
    cdef double far = farthest if farthest > 0 else first
    cdef double far_now = ldexp(way, way_exponent) if ldexp(way, way_exponent) > far else far
    cdef double total = (seen if farthest > 0 else eps) + grads
    c[0] = lr * far_now / sqrt(total)  # lr
    c[1] = 1.0  # shift
    carry[0] = far_now  # farthest
    carry[1] = total  # seen


cdef inline void dog_sums(double *restrict out_, const real *restrict p_, const real *restrict g_,
                          const real *restrict p0_, Py_ssize_t n, const double *c) noexcept nogil:
    """Sum the squares of the gradient, of the distance from the start, and of the parameter."""
    cdef Py_ssize_t i
    cdef double p, g, p0
    for i in range(n):
        p = p_[i]
        g = g_[i]
        p0 = p0_[i]
        out_[i] = g * g
        if real is float:
            out_[BLOCK + i] = (p - p0) * (p - p0)
        else:
            out_[BLOCK + i] = p - p0
        if real is float:
            out_[2 * BLOCK + i] = p * p
        else:
            out_[2 * BLOCK + i] = p

cdef void dog_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    dog_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void dog_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    dog_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef inline void dog(real *restrict p_, const real *restrict g_, const real *restrict p0_, real *restrict u_,
                     Py_ssize_t n, const double *c) noexcept nogil:
    """Update by DoG, distance over gradients (Ivgi et al., 2023, eq. DoG), for all arrays of a group together."""
    cdef Py_ssize_t i
    cdef real p, g, update
    cdef double lr = c[0], shift = c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        update = scale_by(g, lr, shift)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update

cdef void dog_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    dog[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void dog_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    dog[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void ftrl_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], beta = h[1], l1 = h[2], l2 = h[3], l2_doubled = h[4]
    c[0] = 1.0 / lr  # rate
    c[1] = beta / lr  # beta
    c[2] = l1
    c[3] = 2.0 * l2 if l2_doubled else l2  # l2


cdef inline void ftrl(real *restrict p_, const real *restrict g_, real *restrict z_, real *restrict n2_,
                      real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, z, n2, before, after, target, update
    cdef real rate = <real> c[0], beta = <real> c[1], l1 = <real> c[2], l2 = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        z = z_[i]
        n2 = n2_[i]
        before = sqrt(n2)
        n2 = n2 + g * g
        after = sqrt(n2)
        z = z + g - rate * (after - before) * p
        target = where(fabs(z) > l1, (copysign(l1, z) - z) / (rate * after + beta + l2), <real> 0)
        update = p - target
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        z_[i] = z
        n2_[i] = n2

cdef void ftrl_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ftrl[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void ftrl_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ftrl[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void lars_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double param = sums[0], param_exponent = sums[1], grad = sums[2], grad_exponent = sums[3]
    cdef double lr = h[0], momentum = h[1], weight_decay = h[2], trust_coefficient = h[3], eps = h[4]
    cdef double decayed = param_exponent if weight_decay > 0 else grad_exponent
    cdef double most = decayed if decayed > grad_exponent else grad_exponent
    cdef double least = 0.0 if eps > 0 else most
    cdef double top = most if most > least else least
    cdef double length = ldexp(grad, grad_exponent - top) + weight_decay * ldexp(param, decayed - top) + ldexp(eps, -top)
    cdef double both = grad * param
    c[0] = lr
    c[1] = momentum  # keep
    c[2] = 1.0 if both == 0 else scale_factor(trust_coefficient * param / length, param_exponent - top)  # ratio
    c[3] = 1.0 if both == 0 else scale_power(trust_coefficient * param / length, param_exponent - top)  # shift
    c[4] = weight_decay  # decay


cdef inline void lars_sums(double *restrict out_, const real *restrict p_, const real *restrict g_, Py_ssize_t n,
                           const double *c) noexcept nogil:
    """Sum the squares of parameter and gradient."""
    cdef Py_ssize_t i
    cdef double p, g
    for i in range(n):
        p = p_[i]
        g = g_[i]
        if real is float:
            out_[i] = p * p
        else:
            out_[i] = p
        if real is float:
            out_[BLOCK + i] = g * g
        else:
            out_[BLOCK + i] = g

cdef void lars_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lars_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], n, c)

cdef void lars_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lars_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], n, c)


cdef inline void lars(real *restrict p_, const real *restrict g_, real *restrict buf_, real *restrict u_, Py_ssize_t n,
                      const double *c) noexcept nogil:
    """Update by LARS (You et al., 2017, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, buf, update
    cdef real lr = <real> c[0], keep = <real> c[1], decay = <real> c[4]
    cdef double ratio = c[2], shift = c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = keep * buf + lr * scale_by(g + decay * p, ratio, shift)
        update = buf
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        buf_[i] = buf

cdef void lars_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lars[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void lars_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lars[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void lion_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2]
    c[0] = lr
    c[1] = 1.0 - beta1  # w1
    c[2] = 1.0 - beta2  # w2


cdef inline void lion(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict u_, Py_ssize_t n,
                      const double *c) noexcept nogil:
    """Update by Lion (Chen et al., 2023, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, direction, update
    cdef real lr = <real> c[0], w1 = <real> c[1], w2 = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        direction = m + w1 * (g - m)
        update = lr * sign(direction)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m + w2 * (g - m)

cdef void lion_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lion[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void lion_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    lion[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void muon_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1]
    c[0] = lr
    c[1] = 1.0 - momentum  # w


cdef void muon_terms_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                             double *c) noexcept nogil:
    cdef double momentum = h[1], nesterov = h[2]
    c[0] = 1.0 - momentum  # w
    c[1] = momentum if nesterov else 1.0  # of_buf
    c[2] = 1.0 - momentum if nesterov else 0.0  # of_g


cdef inline void muon_terms(double *restrict out_, const real *restrict g_, const real *restrict buf_, Py_ssize_t n,
                            const double *c) noexcept nogil:
    """Return the average, or Nesterov's look-ahead."""
    cdef Py_ssize_t i
    cdef double g, buf
    cdef double w = c[0], of_buf = c[1], of_g = c[2]
    for i in range(n):
        g = g_[i]
        buf = buf_[i]
        out_[i] = of_buf * (buf + w * (g - buf)) + of_g * g

cdef void muon_terms_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    muon_terms[float](<double *> a[UPDATE], <float *> a[1], <float *> a[2], n, c)

cdef void muon_terms_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    muon_terms[double](<double *> a[UPDATE], <double *> a[1], <double *> a[2], n, c)


cdef inline void muon(real *restrict p_, const real *restrict g_, real *restrict buf_, const real *restrict o_,
                      real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Muon (Jordan et al., 2024), with a momentum that has been orthogonalized."""
    cdef Py_ssize_t i
    cdef real p, g, buf, o, update
    cdef real lr = <real> c[0], w = <real> c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        o = o_[i]
        update = lr * o
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        buf_[i] = buf + w * (g - buf)

cdef void muon_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    muon[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void muon_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    muon[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void nadam_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    cdef double product = carry[0]
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], momentum_decay = h[4]
    cdef double now = beta1 * (1.0 - 0.5 * exp(<double> t * momentum_decay * log(0.96)))
    cdef double ahead = beta1 * (1.0 - 0.5 * exp((<double> t + 1.0) * momentum_decay * log(0.96)))
    cdef double c2 = sqrt(1.0 - power(k_, 2, beta2, t))
    product = product * now
    c[0] = lr * c2 * (1.0 - now) / (1.0 - product)  # of_g
    c[1] = lr * c2 * ahead / (1.0 - product * ahead)  # of_m
    c[2] = 1.0 - beta1  # w1
    c[3] = beta2  # keep
    c[4] = 1.0 - beta2  # w2
    c[5] = eps * c2  # eps
    carry[0] = product  # product


cdef inline void nadam(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                       real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by NAdam (Dozat, 2016, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, update
    cdef real of_g = <real> c[0], of_m = <real> c[1], w1 = <real> c[2], keep = <real> c[3], w2 = <real> c[4]
    cdef real eps = <real> c[5]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = keep * v + w2 * g * g
        update = (of_g * g + of_m * m) / (sqrt(v) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void nadam_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nadam[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void nadam_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nadam[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void prodigy_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    cdef double d = carry[0], d_max = carry[1], numerator = carry[2]
    cdef double along = sums[0], length = sums[1]
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], d0 = h[4], d_coef = h[5], growth_rate = h[6]
    cdef double use_bias_correction = h[7], weight_decay = h[8]
    cdef double now = d if d > 0 else d0
    cdef double top = d_max if d > 0 else d0
    cdef double dlr = now * lr * (sqrt(1.0 - power(k_, 2, beta2, t)) / (1.0 - power(k_, 1, beta1, t)) if use_bias_correction else 1.0)
    cdef double total = sqrt(beta2) * numerator + now / d0 * dlr * along
    cdef double found = d_coef * total / length if length > 0 else now
    cdef double raised = (found if found > now else now) if now == d0 else now
    cdef double most = found if found > top else top
    cdef double after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    c[0] = dlr if length > 0 else 0.0  # lr
    c[1] = beta1  # keep1
    c[2] = now * (1.0 - beta1)  # w1
    c[3] = beta2  # keep2
    c[4] = now * now * (1.0 - beta2)  # w2
    c[5] = sqrt(beta2)  # keep3
    c[6] = now / d0 * dlr  # push
    c[7] = after * eps  # eps
    c[8] = dlr * weight_decay if length > 0 else 0.0  # decay
    carry[0] = after  # d
    carry[1] = most  # d_max
    carry[2] = total  # numerator


cdef void prodigy_sums_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                               double *c) noexcept nogil:
    cdef double d = carry[0]
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], d0 = h[4], use_bias_correction = h[7]
    cdef double now = d if d > 0 else d0
    cdef double dlr = now * lr * (sqrt(1.0 - power(k_, 2, beta2, t)) / (1.0 - power(k_, 1, beta1, t)) if use_bias_correction else 1.0)
    c[0] = sqrt(beta2)  # keep3
    c[1] = now / d0 * dlr  # push


cdef inline void prodigy_sums(double *restrict out_, const real *restrict p_, const real *restrict g_,
                              const real *restrict s_, const real *restrict p0_, Py_ssize_t n,
                              const double *c) noexcept nogil:
    """Sum the gradient along the way from the start, and the magnitudes of the gradients' sum."""
    cdef Py_ssize_t i
    cdef double p, g, s, p0
    cdef double keep3 = c[0], push = c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        s = s_[i]
        p0 = p0_[i]
        out_[i] = g * (p0 - p)
        out_[BLOCK + i] = fabs(keep3 * s + push * g)

cdef void prodigy_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[4], <float *> a[5], n, c)

cdef void prodigy_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[4], <double *> a[5], n, c)


cdef inline void prodigy(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                         real *restrict s_, const real *restrict p0_, real *restrict u_, Py_ssize_t n,
                         const double *c) noexcept nogil:
    """Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with decoupled weight decay."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, s, update
    cdef real lr = <real> c[0], keep1 = <real> c[1], w1 = <real> c[2], keep2 = <real> c[3], w2 = <real> c[4]
    cdef real keep3 = <real> c[5], push = <real> c[6], eps = <real> c[7], decay = <real> c[8]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        s = s_[i]
        m = keep1 * m + w1 * g
        v = keep2 * v + w2 * g * g
        s = keep3 * s + push * g
        update = lr * m / (sqrt(v) + eps) + decay * p
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v
        s_[i] = s

cdef void prodigy_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], <float *> a[5],
                   <float *> a[UPDATE], n, c)

cdef void prodigy_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4],
                    <double *> a[5], <double *> a[UPDATE], n, c)


cdef void prodigy_coupled_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                  double *c) noexcept nogil:
    cdef double d = carry[0], d_max = carry[1], numerator = carry[2]
    cdef double along = sums[0], length = sums[1]
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], d0 = h[4], d_coef = h[5], growth_rate = h[6]
    cdef double use_bias_correction = h[7]
    cdef double now = d if d > 0 else d0
    cdef double top = d_max if d > 0 else d0
    cdef double dlr = now * lr * (sqrt(1.0 - power(k_, 2, beta2, t)) / (1.0 - power(k_, 1, beta1, t)) if use_bias_correction else 1.0)
    cdef double total = sqrt(beta2) * numerator + now / d0 * dlr * along
    cdef double found = d_coef * total / length if length > 0 else now
    cdef double raised = (found if found > now else now) if now == d0 else now
    cdef double most = found if found > top else top
    cdef double after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    c[0] = dlr if length > 0 else 0.0  # lr
    c[1] = beta1  # keep1
    c[2] = now * (1.0 - beta1)  # w1
    c[3] = beta2  # keep2
    c[4] = now * now * (1.0 - beta2)  # w2
    c[5] = sqrt(beta2)  # keep3
    c[6] = now / d0 * dlr  # push
    c[7] = after * eps  # eps
    carry[0] = after  # d
    carry[1] = most  # d_max
    carry[2] = total  # numerator


cdef inline void prodigy_coupled_sums(double *restrict out_, const real *restrict p_, const real *restrict g_,
                                      const real *restrict s_, const real *restrict p0_, Py_ssize_t n,
                                      const double *c) noexcept nogil:
    """Sum the gradient along the way from the start, and the magnitudes of the gradients' sum."""
    cdef Py_ssize_t i
    cdef double p, g, s, p0
    cdef double keep3 = c[0], push = c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        s = s_[i]
        p0 = p0_[i]
        out_[i] = g * (p0 - p)
        out_[BLOCK + i] = fabs(keep3 * s + push * g)

cdef void prodigy_coupled_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_coupled_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[4], <float *> a[5], n,
                                c)

cdef void prodigy_coupled_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_coupled_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[4],
                                 <double *> a[5], n, c)


cdef inline void prodigy_coupled(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                                 real *restrict s_, const real *restrict p0_, real *restrict u_, Py_ssize_t n,
                                 const double *c) noexcept nogil:
    """Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with weight decay in the gradient."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, s, update
    cdef real lr = <real> c[0], keep1 = <real> c[1], w1 = <real> c[2], keep2 = <real> c[3], w2 = <real> c[4]
    cdef real keep3 = <real> c[5], push = <real> c[6], eps = <real> c[7]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        s = s_[i]
        m = keep1 * m + w1 * g
        v = keep2 * v + w2 * g * g
        s = keep3 * s + push * g
        update = lr * m / (sqrt(v) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v
        s_[i] = s

cdef void prodigy_coupled_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_coupled[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4],
                           <float *> a[5], <float *> a[UPDATE], n, c)

cdef void prodigy_coupled_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    prodigy_coupled[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4],
                            <double *> a[5], <double *> a[UPDATE], n, c)


cdef void radam_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_hat = h[4]
    cdef double correct = 1.0 - power(k_, 2, beta2, t)
    cdef double longest = 2.0 / (1.0 - beta2) - 1.0
    cdef double length = longest - 2.0 * <double> t * power(k_, 2, beta2, t) / correct
    cdef double rectified = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
    cdef double step_size = lr / (1.0 - power(k_, 1, beta1, t))
    c[0] = step_size * sqrt(rectified * correct) if length > 5 else step_size  # step_size
    c[1] = 1.0 - beta1  # w1
    c[2] = beta2  # keep
    c[3] = 1.0 - beta2  # w2
    c[4] = eps if eps_hat else eps * sqrt(correct)  # eps
    c[5] = 1.0 if length > 5 else 0.0  # adapt


cdef inline void radam(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                       real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by RAdam (Liu et al., 2020, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, update
    cdef real step_size = <real> c[0], w1 = <real> c[1], keep = <real> c[2], w2 = <real> c[3], eps = <real> c[4]
    cdef real adapt = <real> c[5]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = keep * v + w2 * g * g
        update = step_size * m / where(adapt > <real> 0, sqrt(v) + eps, <real> 1)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void radam_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    radam[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void radam_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    radam[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void rmsprop_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    cdef double lr = h[0], alpha = h[1], eps = h[2], eps_inside = h[3]
    c[0] = lr
    c[1] = alpha  # keep
    c[2] = 1.0 - alpha  # w
    c[3] = eps if eps_inside else 0.0  # root
    c[4] = 0.0 if eps_inside else eps  # eps


cdef inline void rmsprop(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict u_, Py_ssize_t n,
                         const double *c) noexcept nogil:
    """Update by RMSprop (Tieleman and Hinton, 2012, lecture 6.5)."""
    cdef Py_ssize_t i
    cdef real p, g, v, update
    cdef real lr = <real> c[0], keep = <real> c[1], w = <real> c[2], root = <real> c[3], eps = <real> c[4]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        v = keep * v + w * g * g
        update = lr * g / (sqrt(v + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v

cdef void rmsprop_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void rmsprop_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef inline void rmsprop_centered(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict mean_,
                                  real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by RMSprop with the variance (Graves, 2013, eq. 38-45), which rounding must not make negative."""
    cdef Py_ssize_t i
    cdef real p, g, v, mean, update
    cdef real lr = <real> c[0], keep = <real> c[1], w = <real> c[2], root = <real> c[3], eps = <real> c[4]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        mean = mean_[i]
        v = keep * v + w * g * g
        mean = mean + w * (g - mean)
        update = lr * g / (sqrt(maximum(v - mean * mean, <real> 0) + root) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v
        mean_[i] = mean

cdef void rmsprop_centered_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void rmsprop_centered_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE],
                             n, c)


cdef void rmsprop_momentum_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                   double *c) noexcept nogil:
    cdef double lr = h[0], alpha = h[1], eps = h[2], momentum = h[3], eps_inside = h[4], lr_in_velocity = h[5]
    c[0] = 1.0 if lr_in_velocity else lr  # lr
    c[1] = alpha  # keep
    c[2] = 1.0 - alpha  # w
    c[3] = eps if eps_inside else 0.0  # root
    c[4] = 0.0 if eps_inside else eps  # eps
    c[5] = momentum  # roll
    c[6] = lr if lr_in_velocity else 1.0  # take


cdef inline void rmsprop_momentum(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict buf_,
                                  real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by RMSprop with heavy-ball momentum over the scaled gradient."""
    cdef Py_ssize_t i
    cdef real p, g, v, buf, update
    cdef real lr = <real> c[0], keep = <real> c[1], w = <real> c[2], root = <real> c[3], eps = <real> c[4]
    cdef real roll = <real> c[5], take = <real> c[6]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        buf = buf_[i]
        v = keep * v + w * g * g
        buf = roll * buf + take * g / (sqrt(v + root) + eps)
        update = lr * buf
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v
        buf_[i] = buf

cdef void rmsprop_momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void rmsprop_momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE],
                             n, c)


cdef inline void rmsprop_centered_momentum(real *restrict p_, const real *restrict g_, real *restrict v_,
                                           real *restrict mean_, real *restrict buf_, real *restrict u_, Py_ssize_t n,
                                           const double *c) noexcept nogil:
    """Update by centered RMSprop with momentum (Graves, 2013, eq. 38-45)."""
    cdef Py_ssize_t i
    cdef real p, g, v, mean, buf, update
    cdef real lr = <real> c[0], keep = <real> c[1], w = <real> c[2], root = <real> c[3], eps = <real> c[4]
    cdef real roll = <real> c[5], take = <real> c[6]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        mean = mean_[i]
        buf = buf_[i]
        v = keep * v + w * g * g
        mean = mean + w * (g - mean)
        buf = roll * buf + take * g / (sqrt(maximum(v - mean * mean, <real> 0) + root) + eps)
        update = lr * buf
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v
        mean_[i] = mean
        buf_[i] = buf

cdef void rmsprop_centered_momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered_momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4],
                                     <float *> a[UPDATE], n, c)

cdef void rmsprop_centered_momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered_momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3],
                                      <double *> a[4], <double *> a[UPDATE], n, c)


cdef void rprop_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    cdef double lr = h[0], eta_minus = h[1], eta_plus = h[2], step_min = h[3], step_max = h[4]
    c[0] = lr if t == 1 else 0.0  # start
    c[1] = eta_minus  # down
    c[2] = eta_plus  # up
    c[3] = step_min  # least
    c[4] = step_max  # most


cdef inline void rprop(real *restrict p_, const real *restrict g_, real *restrict last_, real *restrict size_,
                       real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by resilient backpropagation without backtracking (Riedmiller and Braun, 1993; Igel and Huesken, 2000)."""
    cdef Py_ssize_t i
    cdef real p, g, last, size, agree, factor, update
    cdef real start = <real> c[0], down = <real> c[1], up = <real> c[2], least = <real> c[3], most = <real> c[4]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        last = last_[i]
        size = size_[i]
        agree = sign(g) * last
        factor = where(agree > <real> 0, up, <real> 1) * where(agree < <real> 0, down, <real> 1)
        size = minimum(maximum(factor * where(size > <real> 0, size, start), least), most)
        last = where(agree < <real> 0, <real> 0, g)
        update = size * sign(last)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        last_[i] = last
        size_[i] = size

cdef void rprop_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rprop[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void rprop_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rprop[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void schedule_free_sgd_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                    double *c) noexcept nogil:
    cdef double weights = carry[0], highest = carry[1]
    cdef double lr = h[0], momentum = h[1], warmup = h[2], warmup_from_zero = h[3]
    cdef double full = lr * <double> t / warmup if <double> t < warmup else lr
    cdef double rate = (lr * (<double> t - 1.0) / warmup if <double> t - 1.0 < warmup else lr) if warmup_from_zero else full
    cdef double top = full if full > highest else highest
    cdef double total = weights + top * top
    cdef double share = top * top / total if total > 0 else 0.0
    c[0] = rate  # lr
    c[1] = share
    c[2] = rate * (1.0 - momentum * (1.0 - share))  # of_g
    carry[0] = total  # weights
    carry[1] = top  # highest


cdef inline void schedule_free_sgd(real *restrict p_, const real *restrict g_, real *restrict z_, real *restrict u_,
                                   Py_ssize_t n, const double *c) noexcept nogil:
    """Update by schedule-free SGD (Defazio et al., 2024, eq. 3-5), at the points where gradients are taken."""
    cdef Py_ssize_t i
    cdef real p, g, z, update
    cdef real lr = <real> c[0], share = <real> c[1], of_g = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        z = z_[i]
        update = share * (p - z) + of_g * g
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        z_[i] = z - lr * g

cdef void schedule_free_sgd_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    schedule_free_sgd[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void schedule_free_sgd_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    schedule_free_sgd[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void schedule_free_adamw_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                      double *c) noexcept nogil:
    cdef double weights = carry[0], highest = carry[1]
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], weight_decay = h[4], warmup = h[5]
    cdef double warmup_from_zero = h[6]
    cdef double correct = sqrt(1.0 - power(k_, 2, beta2, t))
    cdef double full = lr * <double> t / warmup if <double> t < warmup else lr
    cdef double rate = (lr * (<double> t - 1.0) / warmup if <double> t - 1.0 < warmup else lr) if warmup_from_zero else full
    cdef double top = full if full > highest else highest
    cdef double total = weights + top * top
    cdef double share = top * top / total if total > 0 else 0.0
    c[0] = rate  # lr
    c[1] = share
    c[2] = rate * (1.0 - beta1 * (1.0 - share))  # of_d
    c[3] = correct
    c[4] = beta2  # keep
    c[5] = 1.0 - beta2  # w2
    c[6] = eps * correct  # eps
    c[7] = weight_decay  # decay
    carry[0] = total  # weights
    carry[1] = top  # highest


cdef inline void schedule_free_adamw(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict z_,
                                     real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by schedule-free AdamW (Defazio et al., 2024), with the bias correction as in the authors' package."""
    cdef Py_ssize_t i
    cdef real p, g, v, z, direction, update
    cdef real lr = <real> c[0], share = <real> c[1], of_d = <real> c[2], correct = <real> c[3], keep = <real> c[4]
    cdef real w2 = <real> c[5], eps = <real> c[6], decay = <real> c[7]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        z = z_[i]
        v = keep * v + w2 * g * g
        direction = correct * g / (sqrt(v) + eps) + decay * p
        update = share * (p - z) + of_d * direction
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        v_[i] = v
        z_[i] = z - lr * direction

cdef void schedule_free_adamw_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    schedule_free_adamw[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n,
                               c)

cdef void schedule_free_adamw_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    schedule_free_adamw[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3],
                                <double *> a[UPDATE], n, c)


cdef void sgd_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                      double *c) noexcept nogil:
    cdef double lr = h[0]
    c[0] = lr


cdef inline void sgd(real *restrict p_, const real *restrict g_, real *restrict u_, Py_ssize_t n,
                     const double *c) noexcept nogil:
    """Update by stochastic gradient descent (Robbins and Monro, 1951)."""
    cdef Py_ssize_t i
    cdef real p, g, update
    cdef real lr = <real> c[0]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        update = lr * g
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update

cdef void sgd_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    sgd[float](<float *> a[0], <float *> a[1], <float *> a[UPDATE], n, c)

cdef void sgd_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    sgd[double](<double *> a[0], <double *> a[1], <double *> a[UPDATE], n, c)


cdef void momentum_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1], dampening = h[2], lr_in_velocity = h[3]
    cdef double take = 1.0 - dampening if t > 1 else 1.0
    c[0] = 1.0 if lr_in_velocity else lr  # lr
    c[1] = momentum if t > 1 else 0.0  # keep
    c[2] = take * lr if lr_in_velocity else take  # take


cdef inline void momentum(real *restrict p_, const real *restrict g_, real *restrict buf_, real *restrict u_,
                          Py_ssize_t n, const double *c) noexcept nogil:
    """Update by heavy-ball momentum (Polyak, 1964)."""
    cdef Py_ssize_t i
    cdef real p, g, buf, update
    cdef real lr = <real> c[0], keep = <real> c[1], take = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = keep * buf + take * g
        update = lr * buf
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        buf_[i] = buf

cdef void momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void nesterov_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1], lr_in_velocity = h[2]
    c[0] = momentum if t > 1 else 0.0  # keep
    c[1] = lr if lr_in_velocity else 1.0  # take
    c[2] = lr
    c[3] = momentum if lr_in_velocity else lr * momentum  # ahead


cdef inline void nesterov(real *restrict p_, const real *restrict g_, real *restrict buf_, real *restrict u_,
                          Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Nesterov's momentum in the form of Sutskever et al. (2013)."""
    cdef Py_ssize_t i
    cdef real p, g, buf, update
    cdef real keep = <real> c[0], take = <real> c[1], lr = <real> c[2], ahead = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = keep * buf + take * g
        update = lr * g + ahead * buf
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        buf_[i] = buf

cdef void nesterov_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nesterov[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void nesterov_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nesterov[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void signsgd_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    cdef double lr = h[0]
    c[0] = lr


cdef inline void signsgd(real *restrict p_, const real *restrict g_, real *restrict u_, Py_ssize_t n,
                         const double *c) noexcept nogil:
    """Update by the sign of the gradient (Bernstein et al., 2018, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, update
    cdef real lr = <real> c[0]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        update = lr * sign(g)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update

cdef void signsgd_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    signsgd[float](<float *> a[0], <float *> a[1], <float *> a[UPDATE], n, c)

cdef void signsgd_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    signsgd[double](<double *> a[0], <double *> a[1], <double *> a[UPDATE], n, c)


cdef void signum_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                         double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1]
    c[0] = lr
    c[1] = 1.0 - momentum  # w


cdef inline void signum(real *restrict p_, const real *restrict g_, real *restrict buf_, real *restrict u_,
                        Py_ssize_t n, const double *c) noexcept nogil:
    """Update by the sign of an average of gradients (Bernstein et al., 2018, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, buf, update
    cdef real lr = <real> c[0], w = <real> c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = buf + w * (g - buf)
        update = lr * sign(buf)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        buf_[i] = buf

cdef void signum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    signum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[UPDATE], n, c)

cdef void signum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    signum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[UPDATE], n, c)


cdef void yogi_scalars(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3]
    cdef double c2 = sqrt(1.0 - power(k_, 2, beta2, t))
    c[0] = lr * c2 / (1.0 - power(k_, 1, beta1, t))  # step_size
    c[1] = 1.0 - beta1  # w1
    c[2] = 1.0 - beta2  # w2
    c[3] = eps * c2  # eps


cdef inline void yogi(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                      real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update by Yogi (Zaheer et al., 2018, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, update
    cdef real step_size = <real> c[0], w1 = <real> c[1], w2 = <real> c[2], eps = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = v - w2 * g * g * sign(v - g * g)
        update = step_size * m / (sqrt(v) + eps)
        if u_ is NULL:
            p_[i] = p - update
        else:
            u_[i] = update
        m_[i] = m
        v_[i] = v

cdef void yogi_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    yogi[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[UPDATE], n, c)

cdef void yogi_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    yogi[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[UPDATE], n, c)


cdef void scale_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    cdef double scale = h[0]
    c[0] = scale
    c[1] = 1.0  # shift


cdef inline void scale(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Scale the gradient (loss scaling, maximization)."""
    cdef Py_ssize_t i
    cdef real g
    cdef double scale = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = scale_by(g, scale, shift)

cdef void scale_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale[float](<float *> a[0], <float *> a[1], n, c)

cdef void scale_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void scale_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                             const double *c) noexcept nogil:
    """Scale the gradient (loss scaling, maximization)."""
    cdef Py_ssize_t i
    cdef double g
    cdef double scale = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (scale_by(g, scale, shift))

cdef void scale_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void scale_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint scale_exact(const double *c) noexcept nogil:
    return fo_is_exact(c[0], c[1])


cdef void finite_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                         double *c) noexcept nogil:
    pass


cdef inline void finite_sums(double *restrict out_, const real *restrict g_, Py_ssize_t n,
                             const double *c) noexcept nogil:
    """Count elements that are infinite or NaN."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        out_[i] = where(g - g == <double> 0, <double> 0, <double> 1)

cdef void finite_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite_sums[float](<double *> a[UPDATE], <float *> a[0], n, c)

cdef void finite_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite_sums[double](<double *> a[UPDATE], <double *> a[0], n, c)


cdef inline void finite(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Replace infinities and NaN by zero."""
    cdef Py_ssize_t i
    cdef real g
    for i in range(n):
        g = g_[i]
        out_[i] = where(g - g == <real> 0, g, <real> 0)

cdef void finite_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite[float](<float *> a[0], <float *> a[1], n, c)

cdef void finite_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void finite_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                              const double *c) noexcept nogil:
    """Replace infinities and NaN by zero."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (where(g - g == <double> 0, g, <double> 0))

cdef void finite_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void finite_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    finite_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint finite_exact(const double *c) noexcept nogil:
    return True


cdef void hold_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                       double *c) noexcept nogil:
    cdef double accumulate = h[0]
    c[0] = ldexp(1.0, -ceil_log2(accumulate))  # part


cdef inline void hold(real *restrict gathered_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Add this gradient to those of earlier calls."""
    cdef Py_ssize_t i
    cdef real gathered, g
    cdef real part = <real> c[0]
    for i in range(n):
        gathered = gathered_[i]
        g = g_[i]
        gathered_[i] = gathered + part * g

cdef void hold_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    hold[float](<float *> a[0], <float *> a[1], n, c)

cdef void hold_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    hold[double](<double *> a[0], <double *> a[1], n, c)


cdef void gather_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                         double *c) noexcept nogil:
    cdef double accumulate = h[0]
    c[0] = ldexp(1.0, -ceil_log2(accumulate))  # part
    c[1] = ldexp(1.0 / accumulate, ceil_log2(accumulate))  # share


cdef inline void gather(real *restrict out_, const real *restrict g_, const real *restrict gathered_, Py_ssize_t n,
                        const double *c) noexcept nogil:
    """Return the mean of the accumulated gradients and this one."""
    cdef Py_ssize_t i
    cdef real g, gathered
    cdef real part = <real> c[0], share = <real> c[1]
    for i in range(n):
        g = g_[i]
        gathered = gathered_[i]
        out_[i] = share * (gathered + part * g)

cdef void gather_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    gather[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void gather_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    gather[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void unclipped_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                            double *c) noexcept nogil:
    pass


cdef inline void unclipped_sums(double *restrict out_, const real *restrict g_, Py_ssize_t n,
                                const double *c) noexcept nogil:
    """Sum the squares of the gradient before clipping."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        if real is float:
            out_[i] = g * g
        else:
            out_[i] = g

cdef void unclipped_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped_sums[float](<double *> a[UPDATE], <float *> a[0], n, c)

cdef void unclipped_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped_sums[double](<double *> a[UPDATE], <double *> a[0], n, c)


cdef inline void unclipped(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Change nothing: the sum is for the report."""
    cdef Py_ssize_t i
    cdef real g
    for i in range(n):
        g = g_[i]
        out_[i] = g

cdef void unclipped_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped[float](<float *> a[0], <float *> a[1], n, c)

cdef void unclipped_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void unclipped_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                                 const double *c) noexcept nogil:
    """Change nothing: the sum is for the report."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (g)

cdef void unclipped_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void unclipped_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    unclipped_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint unclipped_exact(const double *c) noexcept nogil:
    return True


cdef void clip_value_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                             double *c) noexcept nogil:
    cdef double clip_value = h[0]
    c[0] = clip_value  # most


cdef inline void clip_value(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Clip each element of the gradient to ``[-most, most]``."""
    cdef Py_ssize_t i
    cdef real g
    cdef real most = <real> c[0]
    for i in range(n):
        g = g_[i]
        out_[i] = where(g > most, most, where(g < -most, -most, g))

cdef void clip_value_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_value[float](<float *> a[0], <float *> a[1], n, c)

cdef void clip_value_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_value[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void clip_value_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                                  const double *c) noexcept nogil:
    """Clip each element of the gradient to ``[-most, most]``."""
    cdef Py_ssize_t i
    cdef double g
    cdef double most = c[0]
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (where(g > most, most, where(g < -most, -most, g)))

cdef void clip_value_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_value_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void clip_value_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_value_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint clip_value_exact(const double *c) noexcept nogil:
    return fo_is_float(c[0])


cdef void clip_norm_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                            double *c) noexcept nogil:
    cdef double norm = sums[0], norm_exponent = sums[1]
    cdef double clip_norm = h[0]
    cdef double length = ldexp(norm, norm_exponent)
    c[0] = 1.0 if length <= clip_norm else scale_factor(clip_norm / norm, -norm_exponent)  # shrink
    c[1] = 1.0 if length <= clip_norm else scale_power(clip_norm / norm, -norm_exponent)  # shift


cdef inline void clip_norm_sums(double *restrict out_, const real *restrict g_, Py_ssize_t n,
                                const double *c) noexcept nogil:
    """Sum the squares of the gradient."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        if real is float:
            out_[i] = g * g
        else:
            out_[i] = g

cdef void clip_norm_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm_sums[float](<double *> a[UPDATE], <float *> a[0], n, c)

cdef void clip_norm_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm_sums[double](<double *> a[UPDATE], <double *> a[0], n, c)


cdef inline void clip_norm(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Clip the norm of an array's gradient (Pascanu et al., 2013)."""
    cdef Py_ssize_t i
    cdef real g
    cdef double shrink = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = scale_by(g, shrink, shift)

cdef void clip_norm_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm[float](<float *> a[0], <float *> a[1], n, c)

cdef void clip_norm_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void clip_norm_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                                 const double *c) noexcept nogil:
    """Clip the norm of an array's gradient (Pascanu et al., 2013)."""
    cdef Py_ssize_t i
    cdef double g
    cdef double shrink = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (scale_by(g, shrink, shift))

cdef void clip_norm_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void clip_norm_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_norm_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint clip_norm_exact(const double *c) noexcept nogil:
    return fo_is_exact(c[0], c[1])


cdef void clip_global_norm_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                                   double *c) noexcept nogil:
    cdef double norm = sums[0], norm_exponent = sums[1]
    cdef double clip_global_norm = h[0]
    cdef double length = ldexp(norm, norm_exponent)
    c[0] = 1.0 if length <= clip_global_norm else scale_factor(clip_global_norm / norm, -norm_exponent)  # shrink
    c[1] = 1.0 if length <= clip_global_norm else scale_power(clip_global_norm / norm, -norm_exponent)  # shift


cdef inline void clip_global_norm_sums(double *restrict out_, const real *restrict g_, Py_ssize_t n,
                                       const double *c) noexcept nogil:
    """Sum the squares of all gradients."""
    cdef Py_ssize_t i
    cdef double g
    for i in range(n):
        g = g_[i]
        if real is float:
            out_[i] = g * g
        else:
            out_[i] = g

cdef void clip_global_norm_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm_sums[float](<double *> a[UPDATE], <float *> a[0], n, c)

cdef void clip_global_norm_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm_sums[double](<double *> a[UPDATE], <double *> a[0], n, c)


cdef inline void clip_global_norm(real *restrict out_, const real *restrict g_, Py_ssize_t n,
                                  const double *c) noexcept nogil:
    """Clip the common norm of all gradients (Pascanu et al., 2013)."""
    cdef Py_ssize_t i
    cdef real g
    cdef double shrink = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = scale_by(g, shrink, shift)

cdef void clip_global_norm_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm[float](<float *> a[0], <float *> a[1], n, c)

cdef void clip_global_norm_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm[double](<double *> a[0], <double *> a[1], n, c)

cdef inline void clip_global_norm_mixed(target *restrict out_, const source *restrict g_, Py_ssize_t n,
                                        const double *c) noexcept nogil:
    """Clip the common norm of all gradients (Pascanu et al., 2013)."""
    cdef Py_ssize_t i
    cdef double g
    cdef double shrink = c[0], shift = c[1]
    for i in range(n):
        g = g_[i]
        out_[i] = <target> (scale_by(g, shrink, shift))

cdef void clip_global_norm_widen(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm_mixed[double, float](<double *> a[0], <float *> a[1], n, c)

cdef void clip_global_norm_narrow(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    clip_global_norm_mixed[float, double](<float *> a[0], <double *> a[1], n, c)

cdef bint clip_global_norm_exact(const double *c) noexcept nogil:
    return fo_is_exact(c[0], c[1])


cdef void l2_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                     double *c) noexcept nogil:
    cdef double weight_decay = h[0]
    c[0] = weight_decay


cdef inline void l2(real *restrict out_, const real *restrict g_, const real *restrict p_, Py_ssize_t n,
                    const double *c) noexcept nogil:
    """Add the gradient of ``weight_decay / 2 * p**2`` to the gradient."""
    cdef Py_ssize_t i
    cdef real g, p
    cdef real weight_decay = <real> c[0]
    for i in range(n):
        g = g_[i]
        p = p_[i]
        out_[i] = g + weight_decay * p

cdef void l2_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    l2[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void l2_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    l2[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void decoupled_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                            double *c) noexcept nogil:
    cdef double lr = h[0], weight_decay = h[1]
    c[0] = 1.0 - lr * weight_decay  # keep


cdef inline void decoupled(real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Apply decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p
    cdef real keep = <real> c[0]
    for i in range(n):
        p = p_[i]
        p_[i] = keep * p

cdef void decoupled_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    decoupled[float](<float *> a[0], n, c)

cdef void decoupled_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    decoupled[double](<double *> a[0], n, c)


cdef void late_decay_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                             double *c) noexcept nogil:
    cdef double lr = h[0], weight_decay = h[1]
    c[0] = lr * weight_decay  # decay


cdef inline void late_decay(real *restrict u_, const real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Apply decoupled weight decay as part of the update, so that trust ratio and step sizes of elements scale it too."""
    cdef Py_ssize_t i
    cdef real u, p
    cdef real decay = <real> c[0]
    for i in range(n):
        u = u_[i]
        p = p_[i]
        u_[i] = u + decay * p

cdef void late_decay_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    late_decay[float](<float *> a[0], <float *> a[1], n, c)

cdef void late_decay_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    late_decay[double](<double *> a[0], <double *> a[1], n, c)


cdef void proximal_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double lr = h[0], weight_decay = h[1]
    c[0] = lr * weight_decay  # decay
    c[1] = 1.0 / (1.0 + lr * weight_decay)  # shorter


cdef inline void proximal(real *restrict u_, const real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Decay the parameter after its update: ``(p - u) / (1 + lr * weight_decay)`` (Xie et al., 2022, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real u, p
    cdef real decay = <real> c[0], shorter = <real> c[1]
    for i in range(n):
        u = u_[i]
        p = p_[i]
        u_[i] = shorter * (u + decay * p)

cdef void proximal_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    proximal[float](<float *> a[0], <float *> a[1], n, c)

cdef void proximal_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    proximal[double](<double *> a[0], <double *> a[1], n, c)


cdef void trust_ratio_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                              double *c) noexcept nogil:
    cdef double step = sums[0], step_exponent = sums[1], param = sums[2], param_exponent = sums[3]
    cdef double lr = h[0], trust_ratio = h[1]
    cdef double ratio = 1.0 if step == 0 else trust_ratio * lr * param / step
    cdef double exponent = 0.0 if step == 0 else param_exponent - step_exponent
    c[0] = 1.0 if param == 0 else scale_factor(ratio, exponent)  # ratio
    c[1] = 1.0 if param == 0 else scale_power(ratio, exponent)  # shift


cdef inline void trust_ratio_sums(double *restrict out_, const real *restrict u_, const real *restrict p_, Py_ssize_t n,
                                  const double *c) noexcept nogil:
    """Sum the squares of update and parameter."""
    cdef Py_ssize_t i
    cdef double u, p
    for i in range(n):
        u = u_[i]
        p = p_[i]
        if real is float:
            out_[i] = u * u
        else:
            out_[i] = u
        if real is float:
            out_[BLOCK + i] = p * p
        else:
            out_[BLOCK + i] = p

cdef void trust_ratio_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    trust_ratio_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], n, c)

cdef void trust_ratio_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    trust_ratio_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], n, c)


cdef inline void trust_ratio(real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Scale the update to the parameter's norm, times the learning rate (You et al., 2020, "LAMB", algorithm 2)."""
    cdef Py_ssize_t i
    cdef real u
    cdef double ratio = c[0], shift = c[1]
    for i in range(n):
        u = u_[i]
        u_[i] = scale_by(u, ratio, shift)

cdef void trust_ratio_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    trust_ratio[float](<float *> a[0], n, c)

cdef void trust_ratio_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    trust_ratio[double](<double *> a[0], n, c)


cdef void step_scale_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                             double *c) noexcept nogil:
    pass


cdef inline void step_scale(real *restrict u_, const real *restrict factor_, Py_ssize_t n,
                            const double *c) noexcept nogil:
    """Scale each element of the update; a factor of zero keeps the parameter as it is."""
    cdef Py_ssize_t i
    cdef real u, factor
    for i in range(n):
        u = u_[i]
        factor = factor_[i]
        u_[i] = where(factor == <real> 0, <real> 0, factor * u)

cdef void step_scale_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    step_scale[float](<float *> a[0], <float *> a[1], n, c)

cdef void step_scale_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    step_scale[double](<double *> a[0], <double *> a[1], n, c)


cdef void max_step_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                           double *c) noexcept nogil:
    cdef double max_step = h[0]
    c[0] = max_step  # most


cdef inline void max_step(real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Clip each element of the update to ``[-most, most]``."""
    cdef Py_ssize_t i
    cdef real u
    cdef real most = <real> c[0]
    for i in range(n):
        u = u_[i]
        u_[i] = minimum(maximum(u, -most), most)

cdef void max_step_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    max_step[float](<float *> a[0], n, c)

cdef void max_step_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    max_step[double](<double *> a[0], n, c)


cdef void norms_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    pass


cdef inline void norms_sums(double *restrict out_, const real *restrict g_, const real *restrict u_,
                            const real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Sum the squares of gradient, update and parameter."""
    cdef Py_ssize_t i
    cdef double g, u, p
    for i in range(n):
        g = g_[i]
        u = u_[i]
        p = p_[i]
        if real is float:
            out_[i] = g * g
        else:
            out_[i] = g
        if real is float:
            out_[BLOCK + i] = u * u
        else:
            out_[BLOCK + i] = u
        if real is float:
            out_[2 * BLOCK + i] = p * p
        else:
            out_[2 * BLOCK + i] = p

cdef void norms_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    norms_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void norms_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    norms_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef inline void norms(real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Change nothing: the sums are for the report."""
    cdef Py_ssize_t i
    cdef real u
    for i in range(n):
        u = u_[i]
        u_[i] = u

cdef void norms_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    norms[float](<float *> a[0], n, c)

cdef void norms_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    norms[double](<double *> a[0], n, c)


cdef void moves_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                        double *c) noexcept nogil:
    pass


cdef inline void moves_sums(double *restrict out_, const real *restrict u_, const real *restrict p_,
                            const real *restrict low_, const real *restrict high_, Py_ssize_t n,
                            const double *c) noexcept nogil:
    """Sum the squares of the parameter's movement between its bounds."""
    cdef Py_ssize_t i
    cdef double u, p, low, high
    for i in range(n):
        u = u_[i]
        p = p_[i]
        low = low_[i]
        high = high_[i]
        out_[i] = p - minimum(maximum(p - u, low), high)

cdef void moves_sums_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    moves_sums[float](<double *> a[UPDATE], <float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], n, c)

cdef void moves_sums_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    moves_sums[double](<double *> a[UPDATE], <double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], n, c)


cdef inline void moves(real *restrict u_, Py_ssize_t n, const double *c) noexcept nogil:
    """Change nothing: the sum is for the report."""
    cdef Py_ssize_t i
    cdef real u
    for i in range(n):
        u = u_[i]
        u_[i] = u

cdef void moves_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    moves[float](<float *> a[0], n, c)

cdef void moves_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    moves[double](<double *> a[0], n, c)


cdef void bounds_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                         double *c) noexcept nogil:
    pass


cdef inline void bounds(real *restrict p_, const real *restrict low_, const real *restrict high_, Py_ssize_t n,
                        const double *c) noexcept nogil:
    """Project the parameter onto its bounds (Bertsekas, 1976)."""
    cdef Py_ssize_t i
    cdef real p, low, high
    for i in range(n):
        p = p_[i]
        low = low_[i]
        high = high_[i]
        p_[i] = minimum(maximum(p, low), high)

cdef void bounds_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    bounds[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void bounds_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    bounds[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void release_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                          double *c) noexcept nogil:
    pass


cdef inline void release(real *restrict m_, const real *restrict p_, const real *restrict low_,
                         const real *restrict high_, Py_ssize_t n, const double *c) noexcept nogil:
    """Drop velocity towards a bound that has stopped the parameter, so that it leaves as soon as the gradient turns."""
    cdef Py_ssize_t i
    cdef real m, p, low, high
    for i in range(n):
        m = m_[i]
        p = p_[i]
        low = low_[i]
        high = high_[i]
        m_[i] = where(p <= low, minimum(m, <real> 0), where(p >= high, maximum(m, <real> 0), m))

cdef void release_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    release[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], n, c)

cdef void release_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    release[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], n, c)


cdef void ema_scalars(int64_t _, double *carry, const double *sums, const double *h, fo_powers_t *k_,
                      double *c) noexcept nogil:
    cdef double ema = h[0]
    c[0] = 1.0 - ema  # share


cdef inline void ema(real *restrict averaged_, const real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Update the exponential moving average of the parameter (Polyak and Juditsky, 1992)."""
    cdef Py_ssize_t i
    cdef real averaged, p
    cdef real share = <real> c[0]
    for i in range(n):
        averaged = averaged_[i]
        p = p_[i]
        averaged_[i] = averaged + share * (p - averaged)

cdef void ema_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ema[float](<float *> a[0], <float *> a[1], n, c)

cdef void ema_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    ema[double](<double *> a[0], <double *> a[1], n, c)


cdef formula_t[35] RULES
cdef formula_t[20] STAGES
cdef double[20][INPUTS] NEUTRAL
cdef const char *STAGE_ARRAY_NAMES[5]
STAGE_ARRAY_NAMES[0] = b"gathered"
STAGE_ARRAY_NAMES[1] = b"factor"
STAGE_ARRAY_NAMES[2] = b"low"
STAGE_ARRAY_NAMES[3] = b"high"
STAGE_ARRAY_NAMES[4] = b"averaged"

describe(&RULES[0], b"adabelief", b"p g m v | step_size w1 keep w2 root eps |  | lr beta1 beta2 eps eps_root",
         adabelief_scalars, adabelief_f32, adabelief_f64, 5, 6, 0)
describe_rule(&RULES[0], 2, 1, 2, 0)
describe_vectors(&RULES[0], adabelief_floats, adabelief_doubles)
describe_narrow(&RULES[0], adabelief_bf16_0, adabelief_bf16_1)

describe(&RULES[1], b"adadelta", b"p g v moved | lr keep w eps |  | lr rho eps", adadelta_scalars, adadelta_f32,
         adadelta_f64, 3, 4, 0)
describe_rule(&RULES[1], 2, 0, 3, 0)
describe_vectors(&RULES[1], adadelta_floats, adadelta_doubles)
describe_narrow(&RULES[1], adadelta_bf16_0, adadelta_bf16_1)

describe(&RULES[2], b"adafactor",
         (b"p g row col ratio | step_size floor |  | lr beta2_decay eps1 eps2 d eps_inside | p g col "
          b"ratio | param param_exponent updates | mean_over_array | g | factored_terms"),
         adafactor_scalars, adafactor_f32, adafactor_f64, 6, 2, 0)
describe_terms(&RULES[2], LINES, adafactor_terms_f32, adafactor_terms_f64, adafactor_terms_scalars)
describe_rule(&RULES[2], 3, 0, 0, 0)
describe_sums(&RULES[2], 2, ARRAY, True, adafactor_sums_f32, adafactor_sums_f64, adafactor_sums_scalars, 1, 1, 0, NULL)
describe_vectors(&RULES[2], adafactor_floats, adafactor_doubles)

describe(&RULES[3], b"adafactor_vector",
         (b"p g v | step_size keep w more floor |  | lr beta2_decay eps1 eps2 d eps_inside | p g v | "
          b"param param_exponent updates | mean_over_array"),
         adafactor_vector_scalars, adafactor_vector_f32, adafactor_vector_f64, 6, 5, 0)
describe_rule(&RULES[3], 1, 0, 1, 0)
describe_sums(&RULES[3], 2, ARRAY, True, adafactor_vector_sums_f32, adafactor_vector_sums_f64,
              adafactor_vector_sums_scalars, 1, 1, 0, NULL)
describe_vectors(&RULES[3], adafactor_vector_floats, adafactor_vector_doubles)
describe_narrow(&RULES[3], adafactor_vector_bf16_0, adafactor_vector_bf16_1)

describe(&RULES[4], b"adagrad", b"p g sum | step_size root eps |  | lr lr_decay eps eps_inside", adagrad_scalars,
         adagrad_f32, adagrad_f64, 4, 3, 0)
describe_rule(&RULES[4], 1, 0, 1, 0)
describe_vectors(&RULES[4], adagrad_floats, adagrad_doubles)
describe_narrow(&RULES[4], adagrad_bf16_0, adagrad_bf16_1)

describe(&RULES[5], b"adam", b"p g m v | step_size w1 keep w2 eps root |  | lr beta1 beta2 eps eps_root eps_hat",
         adam_scalars, adam_f32, adam_f64, 6, 6, 0)
describe_rule(&RULES[5], 2, 1, 2, 0)
describe_vectors(&RULES[5], adam_floats, adam_doubles)
describe_narrow(&RULES[5], adam_bf16_0, adam_bf16_1)

describe(&RULES[6], b"amsgrad",
         (b"p g m v vmax | step_size w1 keep w2 seen eps root |  | lr beta1 beta2 eps eps_root eps_hat"
          b" max_corrected"),
         amsgrad_scalars, amsgrad_f32, amsgrad_f64, 7, 7, 0)
describe_rule(&RULES[6], 3, 1, 6, 0)
describe_vectors(&RULES[6], amsgrad_floats, amsgrad_doubles)
describe_narrow(&RULES[6], amsgrad_bf16_0, amsgrad_bf16_1)

describe(&RULES[7], b"adamax", b"p g m largest | step_size w keep inner outer |  | lr beta1 beta2 eps eps_inside",
         adamax_scalars, adamax_f32, adamax_f64, 5, 5, 0)
describe_rule(&RULES[7], 2, 1, 2, 0)
describe_narrow(&RULES[7], adamax_bf16_0, adamax_bf16_1)

describe(&RULES[8], b"adan",
         (b"p g m d v last | of_m of_d w1 w2 ahead keep w3 eps root before |  | lr beta1 beta2 beta3 "
          b"eps eps_root short_look"),
         adan_scalars, adan_f32, adan_f64, 7, 10, 0)
describe_rule(&RULES[8], 4, 3, 4, 0)
describe_vectors(&RULES[8], adan_floats, adan_doubles)
describe_narrow(&RULES[8], adan_bf16_0, adan_bf16_1)

describe(&RULES[9], b"ademamix", b"p g m v m2 | fast slow w1 keep w2 w3 eps |  | lr beta1 beta2 beta3 alpha warmup eps",
         ademamix_scalars, ademamix_f32, ademamix_f64, 7, 7, 0)
describe_rule(&RULES[9], 3, 5, 2, 0)
describe_vectors(&RULES[9], ademamix_floats, ademamix_doubles)
describe_narrow(&RULES[9], ademamix_bf16_0, ademamix_bf16_1)

describe(&RULES[10], b"adopt", b"p g m v | lr w1 keep w2 eps most |  | lr beta1 beta2 eps", adopt_scalars, adopt_f32,
         adopt_f64, 4, 6, 0)
describe_rule(&RULES[10], 2, 1, 2, 0)
describe_vectors(&RULES[10], adopt_floats, adopt_doubles)
describe_narrow(&RULES[10], adopt_bf16_0, adopt_bf16_1)

describe(&RULES[11], b"adopt_decoupled", b"p g m v | lr w1 keep w2 eps most decay |  | lr beta1 beta2 eps weight_decay",
         adopt_decoupled_scalars, adopt_decoupled_f32, adopt_decoupled_f64, 5, 7, 0)
describe_rule(&RULES[11], 2, 1, 2, 0)
describe_vectors(&RULES[11], adopt_decoupled_floats, adopt_decoupled_doubles)
describe_narrow(&RULES[11], adopt_decoupled_bf16_0, adopt_decoupled_bf16_1)

describe(&RULES[12], b"asgd", b"p g average | lr decay share | eta | lr lambd alpha t0", asgd_scalars, asgd_f32,
         asgd_f64, 4, 3, 1)
describe_rule(&RULES[12], 1, 0, 0, 0)
describe_narrow(&RULES[12], asgd_bf16_0, asgd_bf16_1)

describe(&RULES[13], b"dog",
         (b"p g p0 | lr shift | farthest seen | lr reps_rel eps | p g p0 | grads way way_exponent "
          b"param param_exponent | over_group"),
         dog_scalars, dog_f32, dog_f64, 3, 2, 2)
describe_rule(&RULES[13], 1, 0, 0, 0)
describe_sums(&RULES[13], 3, GROUP, False, dog_sums_f32, dog_sums_f64, NULL, 6, 6, 0, NULL)

describe(&RULES[14], b"ftrl", b"p g z n2 | rate beta l1 l2 |  | lr beta l1 l2 l2_doubled", ftrl_scalars, ftrl_f32,
         ftrl_f64, 5, 4, 0)
describe_rule(&RULES[14], 2, 0, 2, 0)
describe_vectors(&RULES[14], ftrl_floats, ftrl_doubles)
describe_narrow(&RULES[14], ftrl_bf16_0, ftrl_bf16_1)

describe(&RULES[15], b"lars",
         (b"p g buf | lr keep ratio shift decay |  | lr momentum weight_decay trust_coefficient eps | "
          b"p g | param param_exponent grad grad_exponent | over_array"),
         lars_scalars, lars_f32, lars_f64, 5, 5, 0)
describe_rule(&RULES[15], 1, 1, 0, 0)
describe_sums(&RULES[15], 2, ARRAY, False, lars_sums_f32, lars_sums_f64, NULL, 3, 3, 0, NULL)
describe_squares(&RULES[15], [0, 1])

describe(&RULES[16], b"lion", b"p g m | lr w1 w2 |  | lr beta1 beta2", lion_scalars, lion_f32, lion_f64, 3, 3, 0)
describe_rule(&RULES[16], 1, 1, 0, 0)
describe_narrow(&RULES[16], lion_bf16_0, lion_bf16_1)

describe(&RULES[17], b"muon",
         (b"p g buf o | lr w |  | lr momentum nesterov ns1 ns2 ns3 eps ns_steps match_rms | g buf | "
          b"matrix_terms"),
         muon_scalars, muon_f32, muon_f64, 9, 2, 0)
describe_terms(&RULES[17], MATRIX, muon_terms_f32, muon_terms_f64, muon_terms_scalars)
describe_rule(&RULES[17], 2, 1, 0, 2)

describe(&RULES[18], b"nadam", b"p g m v | of_g of_m w1 keep w2 eps | product | lr beta1 beta2 eps momentum_decay",
         nadam_scalars, nadam_f32, nadam_f64, 5, 6, 1)
describe_rule(&RULES[18], 2, 1, 2, 0)
describe_vectors(&RULES[18], nadam_floats, nadam_doubles)
describe_narrow(&RULES[18], nadam_bf16_0, nadam_bf16_1)

describe(&RULES[19], b"prodigy",
         (b"p g m v s p0 | lr keep1 w1 keep2 w2 keep3 push eps decay | d d_max numerator | lr beta1 "
          b"beta2 eps d0 d_coef growth_rate use_bias_correction weight_decay | p g s p0 | along length"
          b" | over_group"),
         prodigy_scalars, prodigy_f32, prodigy_f64, 9, 9, 3)
describe_rule(&RULES[19], 4, 1, 2, 0)
describe_sums(&RULES[19], 2, GROUP, False, prodigy_sums_f32, prodigy_sums_f64, prodigy_sums_scalars, 0, 0, 0, NULL)
describe_vectors(&RULES[19], prodigy_floats, prodigy_doubles)

describe(&RULES[20], b"prodigy_coupled",
         (b"p g m v s p0 | lr keep1 w1 keep2 w2 keep3 push eps | d d_max numerator | lr beta1 beta2 "
          b"eps d0 d_coef growth_rate use_bias_correction | p g s p0 | along length | over_group"),
         prodigy_coupled_scalars, prodigy_coupled_f32, prodigy_coupled_f64, 8, 8, 3)
describe_rule(&RULES[20], 4, 1, 2, 0)
describe_sums(&RULES[20], 2, GROUP, False, prodigy_coupled_sums_f32, prodigy_coupled_sums_f64, prodigy_sums_scalars, 0,
              0, 0, NULL)
describe_vectors(&RULES[20], prodigy_coupled_floats, prodigy_coupled_doubles)

describe(&RULES[21], b"radam", b"p g m v | step_size w1 keep w2 eps adapt |  | lr beta1 beta2 eps eps_hat",
         radam_scalars, radam_f32, radam_f64, 5, 6, 0)
describe_rule(&RULES[21], 2, 1, 2, 0)
describe_vectors(&RULES[21], radam_floats, radam_doubles)
describe_narrow(&RULES[21], radam_bf16_0, radam_bf16_1)

describe(&RULES[22], b"rmsprop", b"p g v | lr keep w root eps |  | lr alpha eps eps_inside", rmsprop_scalars,
         rmsprop_f32, rmsprop_f64, 4, 5, 0)
describe_rule(&RULES[22], 1, 0, 1, 0)
describe_vectors(&RULES[22], rmsprop_floats, rmsprop_doubles)
describe_narrow(&RULES[22], rmsprop_bf16_0, rmsprop_bf16_1)

describe(&RULES[23], b"rmsprop_centered", b"p g v mean | lr keep w root eps |  | lr alpha eps eps_inside",
         rmsprop_scalars, rmsprop_centered_f32, rmsprop_centered_f64, 4, 5, 0)
describe_rule(&RULES[23], 2, 0, 1, 0)
describe_vectors(&RULES[23], rmsprop_centered_floats, rmsprop_centered_doubles)
describe_narrow(&RULES[23], rmsprop_centered_bf16_0, rmsprop_centered_bf16_1)

describe(&RULES[24], b"rmsprop_momentum",
         (b"p g v buf | lr keep w root eps roll take |  | lr alpha eps momentum eps_inside "
          b"lr_in_velocity"),
         rmsprop_momentum_scalars, rmsprop_momentum_f32, rmsprop_momentum_f64, 6, 7, 0)
describe_rule(&RULES[24], 2, 2, 1, 0)
describe_vectors(&RULES[24], rmsprop_momentum_floats, rmsprop_momentum_doubles)
describe_narrow(&RULES[24], rmsprop_momentum_bf16_0, rmsprop_momentum_bf16_1)

describe(&RULES[25], b"rmsprop_centered_momentum",
         (b"p g v mean buf | lr keep w root eps roll take |  | lr alpha eps momentum eps_inside "
          b"lr_in_velocity"),
         rmsprop_momentum_scalars, rmsprop_centered_momentum_f32, rmsprop_centered_momentum_f64, 6, 7, 0)
describe_rule(&RULES[25], 3, 4, 1, 0)
describe_vectors(&RULES[25], rmsprop_centered_momentum_floats, rmsprop_centered_momentum_doubles)
describe_narrow(&RULES[25], rmsprop_centered_momentum_bf16_0, rmsprop_centered_momentum_bf16_1)

describe(&RULES[26], b"rprop", b"p g last size | start down up least most |  | lr eta_minus eta_plus step_min step_max",
         rprop_scalars, rprop_f32, rprop_f64, 5, 5, 0)
describe_rule(&RULES[26], 2, 0, 2, 0)
describe_narrow(&RULES[26], rprop_bf16_0, rprop_bf16_1)

describe(&RULES[27], b"schedule_free_sgd",
         b"p g z | lr share of_g | weights highest | lr momentum warmup warmup_from_zero", schedule_free_sgd_scalars,
         schedule_free_sgd_f32, schedule_free_sgd_f64, 4, 3, 2)
describe_rule(&RULES[27], 1, 0, 0, 0)

describe(&RULES[28], b"schedule_free_adamw",
         (b"p g v z | lr share of_d correct keep w2 eps decay | weights highest | lr beta1 beta2 eps "
          b"weight_decay warmup warmup_from_zero"),
         schedule_free_adamw_scalars, schedule_free_adamw_f32, schedule_free_adamw_f64, 7, 8, 2)
describe_rule(&RULES[28], 2, 0, 1, 0)
describe_vectors(&RULES[28], schedule_free_adamw_floats, schedule_free_adamw_doubles)

describe(&RULES[29], b"sgd", b"p g | lr |  | lr", sgd_scalars, sgd_f32, sgd_f64, 1, 1, 0)
describe_rule(&RULES[29], 0, 0, 0, 0)

describe(&RULES[30], b"momentum", b"p g buf | lr keep take |  | lr momentum dampening lr_in_velocity", momentum_scalars,
         momentum_f32, momentum_f64, 4, 3, 0)
describe_rule(&RULES[30], 1, 1, 0, 0)
describe_narrow(&RULES[30], momentum_bf16_0, momentum_bf16_1)

describe(&RULES[31], b"nesterov", b"p g buf | keep take lr ahead |  | lr momentum lr_in_velocity", nesterov_scalars,
         nesterov_f32, nesterov_f64, 3, 4, 0)
describe_rule(&RULES[31], 1, 1, 0, 0)
describe_narrow(&RULES[31], nesterov_bf16_0, nesterov_bf16_1)

describe(&RULES[32], b"signsgd", b"p g | lr |  | lr", signsgd_scalars, signsgd_f32, signsgd_f64, 1, 1, 0)
describe_rule(&RULES[32], 0, 0, 0, 0)

describe(&RULES[33], b"signum", b"p g buf | lr w |  | lr momentum", signum_scalars, signum_f32, signum_f64, 2, 2, 0)
describe_rule(&RULES[33], 1, 1, 0, 0)
describe_narrow(&RULES[33], signum_bf16_0, signum_bf16_1)

describe(&RULES[34], b"yogi", b"p g m v | step_size w1 w2 eps |  | lr beta1 beta2 eps", yogi_scalars, yogi_f32,
         yogi_f64, 4, 4, 0)
describe_rule(&RULES[34], 2, 1, 2, 0)
describe_vectors(&RULES[34], yogi_floats, yogi_doubles)
describe_narrow(&RULES[34], yogi_bf16_0, yogi_bf16_1)

describe(&STAGES[0], b"scale", b"g | scale shift |  | scale", scale_scalars, scale_f32, scale_f64, 1, 2, 0)
NEUTRAL[0][0] = 1
describe_stage(&STAGES[0], TRANSFORMS, &NEUTRAL[0][0], 1, [GRADIENT])
describe_mixed(&STAGES[0], scale_widen, scale_narrow, scale_exact, False, False)

describe(&STAGES[1], b"finite", b"g |  |  |  | g | bad | over_array", finite_scalars, finite_f32, finite_f64, 0, 0, 0)
describe_stage(&STAGES[1], CHECKS, &NEUTRAL[1][0], 1, [GRADIENT])
describe_mixed(&STAGES[1], finite_widen, finite_narrow, finite_exact, True, False)
describe_sums(&STAGES[1], 1, ARRAY, False, finite_sums_f32, finite_sums_f64, NULL, 0, 0, 1, [GRADIENT])

describe(&STAGES[2], b"hold", b"gathered g | part |  | accumulate", hold_scalars, hold_f32, hold_f64, 1, 1, 0)
NEUTRAL[2][0] = 1
describe_stage(&STAGES[2], ACCUMULATES, &NEUTRAL[2][0], 2, [STAGE_ARRAY + 0, GRADIENT])

describe(&STAGES[3], b"gather", b"g gathered | part share |  | accumulate", gather_scalars, gather_f32, gather_f64, 1,
         2, 0)
NEUTRAL[3][0] = 1
describe_stage(&STAGES[3], AVERAGES, &NEUTRAL[3][0], 2, [GRADIENT, STAGE_ARRAY + 0])

describe(&STAGES[4], b"unclipped", b"g |  |  |  | g | unclipped_norm unclipped_norm_exponent | over_array",
         unclipped_scalars, unclipped_f32, unclipped_f64, 0, 0, 0)
describe_stage(&STAGES[4], MEASURES, &NEUTRAL[4][0], 1, [GRADIENT])
describe_mixed(&STAGES[4], unclipped_widen, unclipped_narrow, unclipped_exact, True, False)
describe_sums(&STAGES[4], 1, ARRAY, False, unclipped_sums_f32, unclipped_sums_f64, NULL, 1, 1, 1, [GRADIENT])
describe_squares(&STAGES[4], [GRADIENT])

describe(&STAGES[5], b"clip_value", b"g | most |  | clip_value", clip_value_scalars, clip_value_f32, clip_value_f64, 1,
         1, 0)
NEUTRAL[5][0] = INFINITY
describe_stage(&STAGES[5], TRANSFORMS, &NEUTRAL[5][0], 1, [GRADIENT])
describe_mixed(&STAGES[5], clip_value_widen, clip_value_narrow, clip_value_exact, False, True)

describe(&STAGES[6], b"clip_norm", b"g | shrink shift |  | clip_norm | g | norm norm_exponent | over_array",
         clip_norm_scalars, clip_norm_f32, clip_norm_f64, 1, 2, 0)
NEUTRAL[6][0] = INFINITY
describe_stage(&STAGES[6], TRANSFORMS, &NEUTRAL[6][0], 1, [GRADIENT])
describe_mixed(&STAGES[6], clip_norm_widen, clip_norm_narrow, clip_norm_exact, False, True)
describe_sums(&STAGES[6], 1, ARRAY, False, clip_norm_sums_f32, clip_norm_sums_f64, NULL, 1, 1, 1, [GRADIENT])
describe_squares(&STAGES[6], [GRADIENT])

describe(&STAGES[7], b"clip_global_norm", b"g | shrink shift |  | clip_global_norm | g | norm norm_exponent | over_all",
         clip_global_norm_scalars, clip_global_norm_f32, clip_global_norm_f64, 1, 2, 0)
NEUTRAL[7][0] = INFINITY
describe_stage(&STAGES[7], TRANSFORMS, &NEUTRAL[7][0], 1, [GRADIENT])
describe_mixed(&STAGES[7], clip_global_norm_widen, clip_global_norm_narrow, clip_global_norm_exact, False, True)
describe_sums(&STAGES[7], 1, WHOLE, False, clip_global_norm_sums_f32, clip_global_norm_sums_f64, NULL, 1, 1, 1,
              [GRADIENT])
describe_squares(&STAGES[7], [GRADIENT])

describe(&STAGES[8], b"l2", b"g p | weight_decay |  | weight_decay", l2_scalars, l2_f32, l2_f64, 1, 1, 0)
NEUTRAL[8][0] = 0
describe_stage(&STAGES[8], TRANSFORMS, &NEUTRAL[8][0], 2, [GRADIENT, PARAMETER])

describe(&STAGES[9], b"decoupled", b"p | keep |  | lr weight_decay", decoupled_scalars, decoupled_f32, decoupled_f64, 2,
         1, 0)
NEUTRAL[9][0] = NAN
NEUTRAL[9][1] = 0
describe_stage(&STAGES[9], TRANSFORMS, &NEUTRAL[9][0], 1, [PARAMETER])

describe(&STAGES[10], b"late_decay", b"u p | decay |  | lr weight_decay", late_decay_scalars, late_decay_f32,
         late_decay_f64, 2, 1, 0)
NEUTRAL[10][0] = NAN
NEUTRAL[10][1] = 0
describe_stage(&STAGES[10], TRANSFORMS, &NEUTRAL[10][0], 2, [UPDATE, PARAMETER])

describe(&STAGES[11], b"proximal", b"u p | decay shorter |  | lr weight_decay", proximal_scalars, proximal_f32,
         proximal_f64, 2, 2, 0)
NEUTRAL[11][0] = NAN
NEUTRAL[11][1] = 0
describe_stage(&STAGES[11], TRANSFORMS, &NEUTRAL[11][0], 2, [UPDATE, PARAMETER])

describe(&STAGES[12], b"trust_ratio",
         (b"u | ratio shift |  | lr trust_ratio | u p | step step_exponent param param_exponent | "
          b"over_array"),
         trust_ratio_scalars, trust_ratio_f32, trust_ratio_f64, 2, 2, 0)
NEUTRAL[12][0] = NAN
NEUTRAL[12][1] = 0
describe_stage(&STAGES[12], TRANSFORMS, &NEUTRAL[12][0], 1, [UPDATE])
describe_sums(&STAGES[12], 2, ARRAY, False, trust_ratio_sums_f32, trust_ratio_sums_f64, NULL, 3, 3, 2,
              [UPDATE, PARAMETER])
describe_squares(&STAGES[12], [UPDATE, PARAMETER])

describe(&STAGES[13], b"step_scale", b"u factor |  |  | ", step_scale_scalars, step_scale_f32, step_scale_f64, 0, 0, 0)
describe_stage(&STAGES[13], TRANSFORMS, &NEUTRAL[13][0], 2, [UPDATE, STAGE_ARRAY + 1])

describe(&STAGES[14], b"max_step", b"u | most |  | max_step", max_step_scalars, max_step_f32, max_step_f64, 1, 1, 0)
NEUTRAL[14][0] = INFINITY
describe_stage(&STAGES[14], TRANSFORMS, &NEUTRAL[14][0], 1, [UPDATE])

describe(&STAGES[15], b"norms",
         (b"u |  |  |  | g u p | gradient_norm gradient_norm_exponent update_norm update_norm_exponent"
          b" parameter_norm parameter_norm_exponent | over_array"),
         norms_scalars, norms_f32, norms_f64, 0, 0, 0)
describe_stage(&STAGES[15], MEASURES, &NEUTRAL[15][0], 1, [UPDATE])
describe_sums(&STAGES[15], 3, ARRAY, False, norms_sums_f32, norms_sums_f64, NULL, 7, 7, 3,
              [GRADIENT, UPDATE, PARAMETER])
describe_squares(&STAGES[15], [GRADIENT, UPDATE, PARAMETER])

describe(&STAGES[16], b"moves", b"u |  |  |  | u p low high | update_norm update_norm_exponent | over_array",
         moves_scalars, moves_f32, moves_f64, 0, 0, 0)
describe_stage(&STAGES[16], MEASURES, &NEUTRAL[16][0], 1, [UPDATE])
describe_sums(&STAGES[16], 1, ARRAY, False, moves_sums_f32, moves_sums_f64, NULL, 1, 0, 4,
              [UPDATE, PARAMETER, STAGE_ARRAY + 2, STAGE_ARRAY + 3])

describe(&STAGES[17], b"bounds", b"p low high |  |  | ", bounds_scalars, bounds_f32, bounds_f64, 0, 0, 0)
describe_stage(&STAGES[17], TRANSFORMS, &NEUTRAL[17][0], 3, [PARAMETER, STAGE_ARRAY + 2, STAGE_ARRAY + 3])

describe(&STAGES[18], b"release", b"m p low high |  |  | ", release_scalars, release_f32, release_f64, 0, 0, 0)
describe_stage(&STAGES[18], TRANSFORMS, &NEUTRAL[18][0], 4, [VELOCITY, PARAMETER, STAGE_ARRAY + 2, STAGE_ARRAY + 3])

describe(&STAGES[19], b"ema", b"averaged p | share |  | ema", ema_scalars, ema_f32, ema_f64, 1, 1, 0)
NEUTRAL[19][0] = NAN
describe_stage(&STAGES[19], TRANSFORMS, &NEUTRAL[19][0], 2, [STAGE_ARRAY + 4, PARAMETER])

cdef table_t TABLE_
TABLE_.version, TABLE_.isa, TABLE_.n_rules, TABLE_.rules = VERSION, FO_ISA, 35, &RULES[0]
TABLE_.span, TABLE_.reduce_blocks = span, reduce_blocks
TABLE_.write_terms, TABLE_.write_factors = write_terms, write_factors
TABLE_.n_stages, TABLE_.stages, TABLE_.rule_at, TABLE_.subtract_at = 20, &STAGES[0], 10, 17
TABLE_.n_stage_arrays, TABLE_.stage_arrays = 5, &STAGE_ARRAY_NAMES[0]
TABLE = PyCapsule_New(&TABLE_, "fastopt.table", NULL)

SOURCES = {
    "optimizers/__init__.py":
        ("4fdbe6ddc72b5ab23b333a6534bb8ec066170a0d2adf3e38015cf7bf9180f181",
         ""),
    "optimizers/adabelief.py":
        ("c86e52a25a992093523de4049e7f96e886ce873229c5b504e550c4926da8953f",
         "131838f2c3c9b1b1d0676b1f22420a4f77a2719ceaa44ef28bd3535e50d21315"),
    "optimizers/adadelta.py":
        ("154441e546d5f2caece1a60803877f23185141acea03c629327879a52db7a97b",
         "1055019a23bd9026270855eab6bf1543ca640593e2e1e2425781be34b72483d0"),
    "optimizers/adafactor.py":
        ("68b28f6002132e1775fe83829baaa40f3937c6dfed3b02bdb6c7645bd69aee84",
         "32c791290b36132328314013e8319219d79ffabc00accd53513a8960aff71f37"),
    "optimizers/adagrad.py":
        ("889f20442f72ccb2e8c3e3053629d86986f334e463af2a5323a25b982418b47c",
         "8b2a10eade5aa080db86cecea4475990afc2d63a483c2eb08b81f11d875163f0"),
    "optimizers/adam.py":
        ("b258b02855e9dab70109dccc203d430d67f09355b40bc1b06d3e22347b1424e1",
         "63105d9db2428247c844ddfe4591699a89da6d3226e8ac4f085adc704cb88539"),
    "optimizers/adamax.py":
        ("70226b38af62d2273d564466664e186562ea0df9281a55d2c7011c831f67b3c4",
         "dffb408b8029aabe34a7add86224e8d052a6b3e21def989b1536ca37fbaff9a1"),
    "optimizers/adamw.py":
        ("7b0f158f65fbf26b2e29df85cc4602c6a9d02827d7182344554767829b28f7cc",
         ""),
    "optimizers/adan.py":
        ("8f2c34f733c4c04b4c38c9bcb62bdee35014b94b495211e625782547449e55a1",
         "ec7c74538c8580ed1d7505fa2f1c736b1611bba45f572fb00faba98a160174af"),
    "optimizers/ademamix.py":
        ("78a5e4e1d465a6c2e6c8ec28fcfa964adc68bb88759385bfcd88566ecb238c0f",
         "8273cc84dc0128a4e36dd76660066c58d7c0768f14420eecbfdde858b6054fc6"),
    "optimizers/adopt.py":
        ("df11fb7cd7751e7c19cf00616d3e2152c21bc35ba089527c2240628d9f02b27a",
         "30e651bcd466de3c3ab4838315709a3f6138cbffefded1d5d901d5fce57a8a83"),
    "optimizers/asgd.py":
        ("6faa47e154930462be62c9720fb3c4e9d4a17c370a97e88c34ceede9e7a65b13",
         "dc6f8f16671e97e82a6e395efd8d95fa5b84202ffadbea8c5964425a57405085"),
    "optimizers/dog.py":
        ("91eb0820472d840cd868c0e8d004117bfaeb41306f9ee349ff093a1b9915c113",
         "1e44dec0b965113cb9be44038a82947f21a3d8c19a09f5dd8fb4ec114c462bdd"),
    "optimizers/ftrl.py":
        ("453f629c55f4e21843700c84f125bf76788e0d19b7b42335aae2f7decc2a6ad8",
         "069e6117d32e3ef368b391842ee1a24e9e6872867ca06c101f17fbf20730a7e9"),
    "optimizers/lamb.py":
        ("42f0d5129a83601d4f82ed1b84586c9b39d24d0399b49524f06d070ff4b4b600",
         ""),
    "optimizers/lars.py":
        ("bf1e67cb162686a6e7c0517c09bdb3452376478b3d02430c26bb705bf58323b0",
         "309742d110c7c7a93e4cfbdb6cfb2fe8be12dfcbbdbcadac326898ebc9a34711"),
    "optimizers/lion.py":
        ("1270e10b4f2bc16fb9dd9b0b23116e736db3d7e6be2b95164abe65eff4449f87",
         "d69020bdafe444a6b01dd9453781c8d9d4996e6fb8d40e4cac97ad8c7153ce67"),
    "optimizers/muon.py":
        ("ad88da7c20e353e7808db10c1723d789fd8703e1f6b79f26e622bf53eaf8bf48",
         "be78c1a9d666b8f42601dcb94c0a285d55b87cd49ce6d1ccdd8e83e823731c7b"),
    "optimizers/nadam.py":
        ("ee91bdae10e3f2b410213d12db5b4d7b9f69dc5f7ba8d87deca491c58c30982e",
         "79dcfcb9ee0dbcc34cb8d94e5fc11f34e2a1a700e01adb085143afe61f117259"),
    "optimizers/prodigy.py":
        ("294b545f962f22dda5364646ae8cb2c72fa5481cde5e62ae8140b4935b0b78ff",
         "5d304c2aae2aa74eb85ce841eead3dbec470477573b40307e4f022c093f39dc5"),
    "optimizers/radam.py":
        ("a6ab688d43effbb3e80d54590aed7870190056d6040f8a13c0f6c95b0ab71638",
         "bcad92411c54eead03b5a3b9e0c797fe43750fae90f4a4e9057ecc9ff0486f0d"),
    "optimizers/rmsprop.py":
        ("7aabe99d4b3585c75b0e2fa5f43dbf4ade1222fed14c03024ea0e016b46f7e21",
         "5250bef732ca550b7c95c79307650e213ba1549389f8a8d6800c03f6b9abe476"),
    "optimizers/rprop.py":
        ("39b9f01bbc9869a78aaa312886734709a15b23633fa3b05f7389300c6045f1a8",
         "0f152c8900186ae6316c59e3143c0e019ccae64cbba7eb04ce9beb0a472e7a09"),
    "optimizers/schedule_free.py":
        ("8bc3511797eba76c59e0dd0eacdbf5ad943e4258af345975e5b584463c00ab40",
         "7c2fe83d55820cf4200efbfd54a34be97f1e30f842ca747d215175b9e5d18373"),
    "optimizers/schedule_free_adamw.py":
        ("7367f4ed98d2dd69f26aa24a33dbeed3fa84cb5043620bac5a22d60ad6619e15",
         "90dd123bb03f6a71455234eef102318e3708b0ac78159603d8c5d0446064b98c"),
    "optimizers/sgd.py":
        ("97c2adceb08ae6e33dd05ec7a6c2e978571a1f27f20aa512fa073edffbe38b7e",
         "876a615402ea45f949ceb1df7f0ce6c72bbf962d96632b9e754297f3dd509bdd"),
    "optimizers/signsgd.py":
        ("2925d60c9e1e578a30e4d59d05e15369b4c99935c42a788c2edb98f8eb2d38ce",
         "11c8693d3db288bbe4fa46d130375fc17f5427d051f57ae203d38fc41ea4d6a2"),
    "optimizers/yogi.py":
        ("fec592801fa9ee3ef386a33ca4106c69d327fd5aae993efbbcfd302d81e9ae96",
         "d604e7b79f0f8faf6301dec05cf7c9c4ee69199dae4aaba27af338e556f7974e"),
    "stages.py":
        ("c882fa221c8f22d9517c2f6b5d584059b53dcb3f4377332484a226d3a238b2a4",
         "1227a700c9a5ddc032b4181d70598a796fd294cf4f363284d3fc67e164596959"),
    "losses.py":
        ("ac6c87361a8997c7703507e81906dc2901446d3576da69c128178829c59c48d7",
         "73b9189beffd30fe946f3397799eed3dabe8fcca36a0ca696c1f5dd3afa82a75"),
}
