// Generated from optimizers and stages.py by python fastopt/_codegen: edit those files.
enum { FO_SCALE, FO_FINITE, FO_HOLD, FO_GATHER, FO_UNCLIPPED, FO_CLIP_VALUE, FO_CLIP_NORM, FO_CLIP_GLOBAL_NORM, FO_L2,
    FO_DECOUPLED, FO_LATE_DECAY, FO_PROXIMAL, FO_TRUST_RATIO, FO_STEP_SCALE, FO_MAX_STEP, FO_NORMS, FO_MOVES, FO_BOUNDS,
    FO_RELEASE, FO_EMA };
enum { FO_GATHERED, FO_FACTOR, FO_LOW, FO_HIGH, FO_AVERAGED };
#include "launch.h"

namespace stage {

// Scale the gradient (loss scaling, maximization).
struct scale {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double scale = h[0];
        c[0] = scale;
        c[1] = 1.0; /* shift */
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        const double scale = c64_[0], shift = c64_[1];
        return fo_scale_by(g, scale, shift);
    }
};

// Replace infinities and NaN by zero.
struct finite {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    FO_INLINE void sums_of(double g, const double *c, double *out)
    {
        out[0] = fo_where(g - g == 0.0, 0.0, 1.0); /* bad */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->w, c, out);
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        return fo_where(g - g == (real)0.0, g, (real)0.0);
    }
};

// Add this gradient to those of earlier calls.
struct hold {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double accumulate = h[0];
        c[0] = fo_ldexp(1.0, -fo_ceil_log2(accumulate)); /* part */
    }

    template <class real> FO_INLINE real shape(real gathered, real g, const real *c, const double *c64_)
    {
        const real part = c[0];
        return gathered + part * g;
    }
};

// Return the mean of the accumulated gradients and this one.
struct gather {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double accumulate = h[0];
        c[0] = fo_ldexp(1.0, -fo_ceil_log2(accumulate)); /* part */
        c[1] = fo_ldexp(1.0 / accumulate, fo_ceil_log2(accumulate)); /* share */
    }

    template <class real> FO_INLINE real shape(real g, real gathered, const real *c, const double *c64_)
    {
        const real part = c[0], share = c[1];
        return share * (gathered + part * g);
    }
};

// Change nothing: the sum is for the report.
struct unclipped {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    FO_INLINE void sums_of(double g, const double *c, double *out)
    {
        out[0] = g; /* unclipped_norm */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->w, c, out);
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        return g;
    }
};

// Clip each element of the gradient to ``[-most, most]``.
struct clip_value {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double clip_value = h[0];
        c[0] = clip_value; /* most */
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        const real most = c[0];
        return fo_where(g > most, most, fo_where(g < -most, -most, g));
    }
};

// Clip the norm of an array's gradient (Pascanu et al., 2013).
struct clip_norm {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double norm = sums[0], norm_exponent = sums[1];
        double clip_norm = h[0];
        double length = fo_ldexp(norm, norm_exponent);
        c[0] = length <= clip_norm ? 1.0 : fo_scale_factor(clip_norm / norm, -norm_exponent); /* shrink */
        c[1] = length <= clip_norm ? 1.0 : fo_scale_power(clip_norm / norm, -norm_exponent); /* shift */
    }

    FO_INLINE void sums_of(double g, const double *c, double *out)
    {
        out[0] = g; /* norm */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->w, c, out);
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        const double shrink = c64_[0], shift = c64_[1];
        return fo_scale_by(g, shrink, shift);
    }
};

// Clip the common norm of all gradients (Pascanu et al., 2013).
struct clip_global_norm {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double norm = sums[0], norm_exponent = sums[1];
        double clip_global_norm = h[0];
        double length = fo_ldexp(norm, norm_exponent);
        c[0] = length <= clip_global_norm ? 1.0 : fo_scale_factor(clip_global_norm / norm, -norm_exponent); /* shrink */
        c[1] = length <= clip_global_norm ? 1.0 : fo_scale_power(clip_global_norm / norm, -norm_exponent); /* shift */
    }

    FO_INLINE void sums_of(double g, const double *c, double *out)
    {
        out[0] = g; /* norm */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->w, c, out);
    }

    template <class real> FO_INLINE real shape(real g, const real *c, const double *c64_)
    {
        const double shrink = c64_[0], shift = c64_[1];
        return fo_scale_by(g, shrink, shift);
    }
};

// Add the gradient of ``weight_decay / 2 * p**2`` to the gradient.
struct l2 {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double weight_decay = h[0];
        c[0] = weight_decay;
    }

    template <class real> FO_INLINE real shape(real g, real p, const real *c, const double *c64_)
    {
        const real weight_decay = c[0];
        return g + weight_decay * p;
    }
};

// Apply decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2).
struct decoupled {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], weight_decay = h[1];
        c[0] = 1.0 - lr * weight_decay; /* keep */
    }

    template <class real> FO_INLINE real shape(real p, const real *c, const double *c64_)
    {
        const real keep = c[0];
        return keep * p;
    }
};

// Apply decoupled weight decay as part of the update, so that trust ratio and step sizes of elements scale it too.
struct late_decay {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], weight_decay = h[1];
        c[0] = lr * weight_decay; /* decay */
    }

    template <class real> FO_INLINE real shape(real u, real p, const real *c, const double *c64_)
    {
        const real decay = c[0];
        return u + decay * p;
    }
};

// Decay the parameter after its update: ``(p - u) / (1 + lr * weight_decay)`` (Xie et al., 2022, algorithm 1).
struct proximal {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], weight_decay = h[1];
        c[0] = lr * weight_decay; /* decay */
        c[1] = 1.0 / (1.0 + lr * weight_decay); /* shorter */
    }

    template <class real> FO_INLINE real shape(real u, real p, const real *c, const double *c64_)
    {
        const real decay = c[0], shorter = c[1];
        return shorter * (u + decay * p);
    }
};

// Scale the update to the parameter's norm, times the learning rate (You et al., 2020, "LAMB", algorithm 2).
struct trust_ratio {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double step = sums[0], step_exponent = sums[1], param = sums[2], param_exponent = sums[3];
        double lr = h[0], trust_ratio = h[1];
        double ratio = step == 0.0 ? 1.0 : trust_ratio * lr * param / step;
        double exponent = step == 0.0 ? 0.0 : param_exponent - step_exponent;
        c[0] = param == 0.0 ? 1.0 : fo_scale_factor(ratio, exponent); /* ratio */
        c[1] = param == 0.0 ? 1.0 : fo_scale_power(ratio, exponent); /* shift */
    }

    FO_INLINE void sums_of(double u, double p, const double *c, double *out)
    {
        out[0] = u; /* step */
        out[1] = p; /* param */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->u, e->p, c, out);
    }

    template <class real> FO_INLINE real shape(real u, const real *c, const double *c64_)
    {
        const double ratio = c64_[0], shift = c64_[1];
        return fo_scale_by(u, ratio, shift);
    }
};

// Scale each element of the update; a factor of zero keeps the parameter as it is.
struct step_scale {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    template <class real> FO_INLINE real shape(real u, real factor, const real *c, const double *c64_)
    {
        return fo_where(factor == (real)0.0, (real)0.0, factor * u);
    }
};

// Clip each element of the update to ``[-most, most]``.
struct max_step {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double max_step = h[0];
        c[0] = max_step; /* most */
    }

    template <class real> FO_INLINE real shape(real u, const real *c, const double *c64_)
    {
        const real most = c[0];
        return fo_minimum(fo_maximum(u, -most), most);
    }
};

// Change nothing: the sums are for the report.
struct norms {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    FO_INLINE void sums_of(double g, double u, double p, const double *c, double *out)
    {
        out[0] = g; /* gradient_norm */
        out[1] = u; /* update_norm */
        out[2] = p; /* parameter_norm */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->g, e->u, e->p, c, out);
    }

    template <class real> FO_INLINE real shape(real u, const real *c, const double *c64_)
    {
        return u;
    }
};

// Change nothing: the sum is for the report.
struct moves {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    FO_INLINE void sums_of(double u, double p, double low, double high, const double *c, double *out)
    {
        out[0] = p - fo_minimum(fo_maximum(p - u, low), high); /* update_norm */
    }

    template <class real> FO_INLINE void sums(const fo_array *a, int64_t i, const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->u, e->p, *fo_stage_array(a, FO_LOW, i, e), *fo_stage_array(a, FO_HIGH, i, e), c, out);
    }

    template <class real> FO_INLINE real shape(real u, const real *c, const double *c64_)
    {
        return u;
    }
};

// Project the parameter onto its bounds (Bertsekas, 1976).
struct bounds {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    template <class real> FO_INLINE real shape(real p, real low, real high, const real *c, const double *c64_)
    {
        return fo_minimum(fo_maximum(p, low), high);
    }
};

// Drop velocity towards a bound that has stopped the parameter, so that it leaves as soon as the gradient turns.
struct release {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
    }

    template <class real> FO_INLINE real shape(real m, real p, real low, real high, const real *c, const double *c64_)
    {
        return fo_where(p <= low, fo_minimum(m, (real)0.0), fo_where(p >= high, fo_maximum(m, (real)0.0), m));
    }
};

// Update the exponential moving average of the parameter (Polyak and Juditsky, 1992).
struct ema {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double ema = h[0];
        c[0] = 1.0 - ema; /* share */
    }

    template <class real> FO_INLINE real shape(real averaged, real p, const real *c, const double *c64_)
    {
        const real share = c[0];
        return averaged + share * (p - averaged);
    }
};

}

template <class real> FO_INLINE void before(const fo_array *a, const fo_now *now, int64_t i, int last, fo_element<real> *e)
{
    int wide = now->format == FO_FLOAT64;
    if (fo_on(now, FO_SCALE, last)) {
        const int next = (wide || !(fo_is_exact(now->stage_c64[FO_SCALE][0], now->stage_c64[FO_SCALE][1]))) && (!(now->on & (1u
            << FO_HOLD | 1u << FO_GATHER)) && fo_goes_on(now, 1u << FO_CLIP_VALUE | 1u << FO_CLIP_NORM | 1u <<
                FO_CLIP_GLOBAL_NORM));
        if (wide || next) e->w = stage::scale::shape(e->w, now->stage_c64[FO_SCALE], now->stage_c64[FO_SCALE]);
        else e->w = stage::scale::shape((real)e->w, fo_stage_c(now, FO_SCALE, e), now->stage_c64[FO_SCALE]);
        wide = next;
    }
    if (FO_FINITE <= last && !(!(now->on & (1u << FO_HOLD | 1u << FO_GATHER)) && fo_goes_on(now, 1u << FO_CLIP_VALUE | 1u <<
        FO_CLIP_NORM | 1u << FO_CLIP_GLOBAL_NORM)))
        e->w = (real)e->w, wide = 0;
    if (fo_on(now, FO_FINITE, last)) {
        const int next = (wide || !(1)) && (!(now->on & (1u << FO_HOLD | 1u << FO_GATHER)) && fo_goes_on(now, 1u <<
            FO_CLIP_VALUE | 1u << FO_CLIP_NORM | 1u << FO_CLIP_GLOBAL_NORM));
        if (wide || next) e->w = stage::finite::shape(e->w, now->stage_c64[FO_FINITE], now->stage_c64[FO_FINITE]);
        else e->w = stage::finite::shape((real)e->w, fo_stage_c(now, FO_FINITE, e), now->stage_c64[FO_FINITE]);
        wide = next;
    }
    e->g = (real)e->w;
    if (fo_on(now, FO_HOLD, last))
        *fo_stage_array(a, FO_GATHERED, i, e) = stage::hold::shape(*fo_stage_array(a, FO_GATHERED, i, e), e->g, fo_stage_c(now,
            FO_HOLD, e), now->stage_c64[FO_HOLD]);
    if (fo_on(now, FO_GATHER, last))
        wide = 0, e->w = e->g = stage::gather::shape(e->g, *fo_stage_array(a, FO_GATHERED, i, e), fo_stage_c(now, FO_GATHER,
            e), now->stage_c64[FO_GATHER]);
    if (FO_UNCLIPPED <= last && !fo_goes_on(now, 1u << FO_CLIP_VALUE | 1u << FO_CLIP_NORM | 1u << FO_CLIP_GLOBAL_NORM))
        e->w = (real)e->w, wide = 0;
    if (fo_on(now, FO_UNCLIPPED, last)) {
        const int next = (wide || !(1)) && fo_goes_on(now, 1u << FO_CLIP_VALUE | 1u << FO_CLIP_NORM | 1u <<
            FO_CLIP_GLOBAL_NORM);
        if (wide || next)
            e->w = stage::unclipped::shape(e->w, now->stage_c64[FO_UNCLIPPED], now->stage_c64[FO_UNCLIPPED]);
        else e->w = stage::unclipped::shape((real)e->w, fo_stage_c(now, FO_UNCLIPPED, e), now->stage_c64[FO_UNCLIPPED]);
        wide = next;
    }
    if (FO_CLIP_VALUE <= last && now->on >> (FO_CLIP_VALUE + 32) & 1) e->w = (real)e->w, wide = 0;
    if (fo_on(now, FO_CLIP_VALUE, last)) {
        const int next = (wide || !(fo_is_float(now->stage_c64[FO_CLIP_VALUE][0]))) && fo_goes_on(now, 1u << FO_CLIP_NORM | 1u
            << FO_CLIP_GLOBAL_NORM);
        if (wide || next)
            e->w = stage::clip_value::shape(e->w, now->stage_c64[FO_CLIP_VALUE], now->stage_c64[FO_CLIP_VALUE]);
        else e->w = stage::clip_value::shape((real)e->w, fo_stage_c(now, FO_CLIP_VALUE, e), now->stage_c64[FO_CLIP_VALUE]);
        wide = next;
    }
    if (FO_CLIP_NORM <= last && now->on >> (FO_CLIP_NORM + 32) & 1) e->w = (real)e->w, wide = 0;
    if (fo_on(now, FO_CLIP_NORM, last)) {
        const int next = (wide || !(fo_is_exact(now->stage_c64[FO_CLIP_NORM][0], now->stage_c64[FO_CLIP_NORM][1]))) &&
            fo_goes_on(now, 1u << FO_CLIP_GLOBAL_NORM);
        if (wide || next)
            e->w = stage::clip_norm::shape(e->w, now->stage_c64[FO_CLIP_NORM], now->stage_c64[FO_CLIP_NORM]);
        else e->w = stage::clip_norm::shape((real)e->w, fo_stage_c(now, FO_CLIP_NORM, e), now->stage_c64[FO_CLIP_NORM]);
        wide = next;
    }
    if (FO_CLIP_GLOBAL_NORM <= last && now->on >> (FO_CLIP_GLOBAL_NORM + 32) & 1) e->w = (real)e->w, wide = 0;
    if (fo_on(now, FO_CLIP_GLOBAL_NORM, last)) {
        const int next = 0;
        if (wide || next)
            e->w = stage::clip_global_norm::shape(e->w, now->stage_c64[FO_CLIP_GLOBAL_NORM],
                now->stage_c64[FO_CLIP_GLOBAL_NORM]);
        else e->w = stage::clip_global_norm::shape((real)e->w, fo_stage_c(now, FO_CLIP_GLOBAL_NORM, e),
            now->stage_c64[FO_CLIP_GLOBAL_NORM]);
        wide = next;
    }
    e->g = (real)e->w;
    if (fo_on(now, FO_L2, last)) e->g = stage::l2::shape(e->g, e->p, fo_stage_c(now, FO_L2, e), now->stage_c64[FO_L2]);
    if (fo_on(now, FO_DECOUPLED, last))
        e->p = stage::decoupled::shape(e->p, fo_stage_c(now, FO_DECOUPLED, e), now->stage_c64[FO_DECOUPLED]);
}

template <class real>
FO_INLINE void after(const fo_array *a, const fo_now *now, int64_t i, int last, int velocity, fo_element<real> *e)
{
    if (fo_on(now, FO_LATE_DECAY, last))
        e->u = stage::late_decay::shape(e->u, e->p, fo_stage_c(now, FO_LATE_DECAY, e), now->stage_c64[FO_LATE_DECAY]);
    if (fo_on(now, FO_PROXIMAL, last))
        e->u = stage::proximal::shape(e->u, e->p, fo_stage_c(now, FO_PROXIMAL, e), now->stage_c64[FO_PROXIMAL]);
    if (fo_on(now, FO_TRUST_RATIO, last))
        e->u = stage::trust_ratio::shape(e->u, fo_stage_c(now, FO_TRUST_RATIO, e), now->stage_c64[FO_TRUST_RATIO]);
    if (fo_on(now, FO_STEP_SCALE, last))
        e->u = stage::step_scale::shape(e->u, *fo_stage_array(a, FO_FACTOR, i, e), fo_stage_c(now, FO_STEP_SCALE, e),
            now->stage_c64[FO_STEP_SCALE]);
    if (fo_on(now, FO_MAX_STEP, last))
        e->u = stage::max_step::shape(e->u, fo_stage_c(now, FO_MAX_STEP, e), now->stage_c64[FO_MAX_STEP]);
    if (fo_on(now, FO_NORMS, last))
        e->u = stage::norms::shape(e->u, fo_stage_c(now, FO_NORMS, e), now->stage_c64[FO_NORMS]);
    if (fo_on(now, FO_MOVES, last))
        e->u = stage::moves::shape(e->u, fo_stage_c(now, FO_MOVES, e), now->stage_c64[FO_MOVES]);
    if (last < FO_STAGES) return;
    e->p = e->p - e->u;
    if (fo_on(now, FO_BOUNDS, last))
        e->p = stage::bounds::shape(e->p, *fo_stage_array(a, FO_LOW, i, e), *fo_stage_array(a, FO_HIGH, i, e), fo_stage_c(now,
            FO_BOUNDS, e), now->stage_c64[FO_BOUNDS]);
    for (int k = 0; k < FO_STATES && fo_on(now, FO_RELEASE, last); k++)
        if (velocity >> k & 1)
            e->state[k] = stage::release::shape(e->state[k], e->p, *fo_stage_array(a, FO_LOW, i, e), *fo_stage_array(a, FO_HIGH, i,
                e), fo_stage_c(now, FO_RELEASE, e), now->stage_c64[FO_RELEASE]);
    if (fo_on(now, FO_EMA, last))
        *fo_stage_array(a, FO_AVERAGED, i, e) = stage::ema::shape(*fo_stage_array(a, FO_AVERAGED, i, e), e->p, fo_stage_c(now,
            FO_EMA, e), now->stage_c64[FO_EMA]);
}

template <class real>
FO_INLINE void empty_used(const fo_array *a, const fo_now *now, int64_t i, fo_element<real> *e)
{
    if (fo_on(now, FO_GATHER, FO_STAGES)) *fo_stage_array(a, FO_GATHERED, i, e) = 0;
}

template <class real>
FO_INLINE void stage_terms(int id, const fo_array *a, int64_t i, const fo_element<real> *e, double *out)
{
    switch (id) {
    case FO_FINITE: stage::finite::sums(a, i, e, 0, out); break;
    case FO_UNCLIPPED: stage::unclipped::sums(a, i, e, 0, out); break;
    case FO_CLIP_NORM: stage::clip_norm::sums(a, i, e, 0, out); break;
    case FO_CLIP_GLOBAL_NORM: stage::clip_global_norm::sums(a, i, e, 0, out); break;
    case FO_TRUST_RATIO: stage::trust_ratio::sums(a, i, e, 0, out); break;
    case FO_NORMS: stage::norms::sums(a, i, e, 0, out); break;
    case FO_MOVES: stage::moves::sums(a, i, e, 0, out); break;
    }
}

FO_INLINE void stage_scalars(int id, const double *sums, const double *h, double *c)
{
    switch (id) {
    case FO_SCALE: stage::scale::scalars(0, 0, sums, h, c); break;
    case FO_FINITE: stage::finite::scalars(0, 0, sums, h, c); break;
    case FO_HOLD: stage::hold::scalars(0, 0, sums, h, c); break;
    case FO_GATHER: stage::gather::scalars(0, 0, sums, h, c); break;
    case FO_UNCLIPPED: stage::unclipped::scalars(0, 0, sums, h, c); break;
    case FO_CLIP_VALUE: stage::clip_value::scalars(0, 0, sums, h, c); break;
    case FO_CLIP_NORM: stage::clip_norm::scalars(0, 0, sums, h, c); break;
    case FO_CLIP_GLOBAL_NORM: stage::clip_global_norm::scalars(0, 0, sums, h, c); break;
    case FO_L2: stage::l2::scalars(0, 0, sums, h, c); break;
    case FO_DECOUPLED: stage::decoupled::scalars(0, 0, sums, h, c); break;
    case FO_LATE_DECAY: stage::late_decay::scalars(0, 0, sums, h, c); break;
    case FO_PROXIMAL: stage::proximal::scalars(0, 0, sums, h, c); break;
    case FO_TRUST_RATIO: stage::trust_ratio::scalars(0, 0, sums, h, c); break;
    case FO_STEP_SCALE: stage::step_scale::scalars(0, 0, sums, h, c); break;
    case FO_MAX_STEP: stage::max_step::scalars(0, 0, sums, h, c); break;
    case FO_NORMS: stage::norms::scalars(0, 0, sums, h, c); break;
    case FO_MOVES: stage::moves::scalars(0, 0, sums, h, c); break;
    case FO_BOUNDS: stage::bounds::scalars(0, 0, sums, h, c); break;
    case FO_RELEASE: stage::release::scalars(0, 0, sums, h, c); break;
    case FO_EMA: stage::ema::scalars(0, 0, sums, h, c); break;
    }
}

FO_INLINE int stage_scope(int id)
{
    switch (id) {
    case FO_FINITE: return FO_ARRAY;
    case FO_UNCLIPPED: return FO_ARRAY;
    case FO_CLIP_NORM: return FO_ARRAY;
    case FO_CLIP_GLOBAL_NORM: return FO_WHOLE;
    case FO_TRUST_RATIO: return FO_ARRAY;
    case FO_NORMS: return FO_ARRAY;
    case FO_MOVES: return FO_ARRAY;
    default: return FO_ARRAY;
    }
}

FO_INLINE int stage_squares(int id)
{
    switch (id) {
    case FO_UNCLIPPED: return 1;
    case FO_CLIP_NORM: return 1;
    case FO_CLIP_GLOBAL_NORM: return 1;
    case FO_TRUST_RATIO: return 3;
    case FO_NORMS: return 7;
    case FO_MOVES: return 1;
    default: return 0;
    }
}

namespace rule {
// Update by AdaBelief (Zhuang et al., 2020, algorithm 2).
struct adabelief : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4];
        double c2 = fo_sqrt(1.0 - fo_power(beta2, t));
        c[0] = lr * c2 / (1.0 - fo_power(beta1, t)); /* step_size */
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = beta2; /* keep */
        c[3] = 1.0 - beta2; /* w2 */
        c[4] = eps_root; /* root */
        c[5] = eps * c2; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], root = c[4], eps = c[5];
        real m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * (g - m) * (g - m) + root;
        const real update = step_size * m / (fo_sqrt(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL adabelief_prepare(FO_ARGUMENTS) { fo_prepare<rule::adabelief>(plan, x, y, z); }
FO_KERNEL adabelief_step(FO_ARGUMENTS) { fo_step<rule::adabelief>(plan, x, y, z); }
FO_KERNEL adabelief_sum(FO_ARGUMENTS) { fo_sum<rule::adabelief>(plan, x, y, z); }

namespace rule {
// Update by Adadelta (Zeiler, 2012, algorithm 1).
struct adadelta : fo_rule {
    enum { states = 2, nonnegative = 3 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], rho = h[1], eps = h[2];
        c[0] = lr;
        c[1] = rho; /* keep */
        c[2] = 1.0 - rho; /* w */
        c[3] = eps;
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], w = c[2], eps = c[3];
        real v = state_[0], moved = state_[1];
        v = keep * v + w * g * g;
        real delta = fo_sqrt(moved + eps) / fo_sqrt(v + eps) * g;
        moved = keep * moved + w * delta * delta;
        const real update = lr * delta;
        state_[0] = v;
        state_[1] = moved;
        return update;
    }
};
}

FO_KERNEL adadelta_prepare(FO_ARGUMENTS) { fo_prepare<rule::adadelta>(plan, x, y, z); }
FO_KERNEL adadelta_step(FO_ARGUMENTS) { fo_step<rule::adadelta>(plan, x, y, z); }
FO_KERNEL adadelta_sum(FO_ARGUMENTS) { fo_sum<rule::adadelta>(plan, x, y, z); }

namespace rule {
// Update by Adafactor (Shazeer and Stern, 2018, algorithm 4), with a factored second moment.
struct adafactor : fo_rule {
    enum { states = 3, squares = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double param = sums[0], param_exponent = sums[1], updates = sums[2];
        double lr = h[0], eps1 = h[2], eps2 = h[3], d = h[4], eps_inside = h[5];
        double rate = lr < 1.0 / fo_sqrt((double)t) ? lr : 1.0 / fo_sqrt((double)t);
        double size = fo_ldexp(param, param_exponent) <= eps2 ? eps2 : fo_ldexp(param, param_exponent);
        double length = fo_sqrt(updates) / d;
        c[0] = rate * size / (length <= 1.0 ? 1.0 : length); /* step_size */
        c[1] = eps_inside ? 0.0 : eps1 * eps1; /* floor */
    }

    FO_INLINE void terms_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double beta2_decay = h[1], eps1 = h[2], eps_inside = h[5];
        c[0] = fo_exp(beta2_decay * fo_log((double)t)); /* w */
        c[1] = eps_inside ? 0.0 : eps1; /* least */
        c[2] = eps_inside ? eps1 : 0.0; /* more */
    }

    FO_INLINE void terms_of(double g, const double *c, double *out)
    {
        const double more = c[2];
        out[0] = g * g + more; /* squares */
    }

    template <class real> FO_INLINE void terms(const fo_element<real> *e, const double *c, double *out)
    {
        terms_of(e->g, c, out);
    }

    FO_INLINE void sums_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double eps1 = h[2], eps_inside = h[5];
        c[0] = eps_inside ? 0.0 : eps1 * eps1; /* floor */
    }

    FO_INLINE void sums_of(double p, double g, double col, double ratio, const double *c, double *out)
    {
        const double floor = c[0];
        out[0] = p; /* param */
        out[1] = g * g / fo_maximum(ratio * col, floor); /* updates */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, e->state[1], e->state[2], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], floor = c[1];
        real col = state_[1], ratio = state_[2];
        return step_size * g / fo_sqrt(fo_maximum(ratio * col, floor));
    }
};
}

FO_KERNEL adafactor_prepare(FO_ARGUMENTS) { fo_prepare<rule::adafactor>(plan, x, y, z); }
FO_KERNEL adafactor_step(FO_ARGUMENTS) { fo_step<rule::adafactor>(plan, x, y, z); }
FO_KERNEL adafactor_sum(FO_ARGUMENTS) { fo_sum<rule::adafactor>(plan, x, y, z); }
FO_KERNEL adafactor_rows(FO_ARGUMENTS) { fo_rows<rule::adafactor>(plan, x, y, z); }
FO_KERNEL adafactor_columns(FO_ARGUMENTS) { fo_columns<rule::adafactor>(plan, x, y, z); }

namespace rule {
// Update by Adafactor without factors, for arrays of fewer than two axes (Shazeer and Stern, 2018, algorithm 5).
struct adafactor_vector : fo_rule {
    enum { states = 1, nonnegative = 1, squares = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double param = sums[0], param_exponent = sums[1], updates = sums[2];
        double lr = h[0], beta2_decay = h[1], eps1 = h[2], eps2 = h[3], d = h[4], eps_inside = h[5];
        double rate = lr < 1.0 / fo_sqrt((double)t) ? lr : 1.0 / fo_sqrt((double)t);
        double size = fo_ldexp(param, param_exponent) <= eps2 ? eps2 : fo_ldexp(param, param_exponent);
        double length = fo_sqrt(updates) / d;
        double w = fo_exp(beta2_decay * fo_log((double)t));
        c[0] = rate * size / (length <= 1.0 ? 1.0 : length); /* step_size */
        c[1] = 1.0 - w; /* keep */
        c[2] = w;
        c[3] = eps_inside ? w * eps1 : 0.0; /* more */
        c[4] = eps_inside ? 0.0 : eps1 * eps1; /* floor */
    }

    FO_INLINE void sums_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double beta2_decay = h[1], eps1 = h[2], eps_inside = h[5];
        double w = fo_exp(beta2_decay * fo_log((double)t));
        c[0] = 1.0 - w; /* keep */
        c[1] = w;
        c[2] = eps_inside ? w * eps1 : 0.0; /* more */
        c[3] = eps_inside ? 0.0 : eps1 * eps1; /* floor */
    }

    FO_INLINE void sums_of(double p, double g, double v, const double *c, double *out)
    {
        const double keep = c[0], w = c[1], more = c[2], floor = c[3];
        v = keep * v + w * g * g + more;
        out[0] = p; /* param */
        out[1] = g * g / fo_maximum(v, floor); /* updates */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, e->state[0], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], keep = c[1], w = c[2], more = c[3], floor = c[4];
        real v = state_[0];
        v = keep * v + w * g * g + more;
        const real update = step_size * g / fo_sqrt(fo_maximum(v, floor));
        state_[0] = v;
        return update;
    }
};
}

FO_KERNEL adafactor_vector_prepare(FO_ARGUMENTS) { fo_prepare<rule::adafactor_vector>(plan, x, y, z); }
FO_KERNEL adafactor_vector_step(FO_ARGUMENTS) { fo_step<rule::adafactor_vector>(plan, x, y, z); }
FO_KERNEL adafactor_vector_sum(FO_ARGUMENTS) { fo_sum<rule::adafactor_vector>(plan, x, y, z); }

namespace rule {
// Update by AdaGrad (Duchi et al., 2011, section 1.1, diagonal).
struct adagrad : fo_rule {
    enum { states = 1, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], lr_decay = h[1], eps = h[2], eps_inside = h[3];
        c[0] = lr / (1.0 + ((double)t - 1.0) * lr_decay); /* step_size */
        c[1] = eps_inside ? eps : 0.0; /* root */
        c[2] = eps_inside ? 0.0 : eps; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], root = c[1], eps = c[2];
        real sum = state_[0];
        sum = sum + g * g;
        const real update = step_size * g / (fo_sqrt(sum + root) + eps);
        state_[0] = sum;
        return update;
    }
};
}

FO_KERNEL adagrad_prepare(FO_ARGUMENTS) { fo_prepare<rule::adagrad>(plan, x, y, z); }
FO_KERNEL adagrad_step(FO_ARGUMENTS) { fo_step<rule::adagrad>(plan, x, y, z); }
FO_KERNEL adagrad_sum(FO_ARGUMENTS) { fo_sum<rule::adagrad>(plan, x, y, z); }

namespace rule {
// Update by Adam (Kingma and Ba, 2015, algorithm 1).
struct adam : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4], eps_hat = h[5];
        double correct = 1.0 - fo_power(beta2, t);
        double c2 = fo_sqrt(correct);
        c[0] = lr * c2 / (1.0 - fo_power(beta1, t)); /* step_size */
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = beta2; /* keep */
        c[3] = 1.0 - beta2; /* w2 */
        c[4] = eps_hat ? eps : eps * c2; /* eps */
        c[5] = eps_root * correct; /* root */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], root = c[5];
        real m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const real update = step_size * m / (fo_sqrt(v + root) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL adam_prepare(FO_ARGUMENTS) { fo_prepare<rule::adam>(plan, x, y, z); }
FO_KERNEL adam_step(FO_ARGUMENTS) { fo_step<rule::adam>(plan, x, y, z); }
FO_KERNEL adam_sum(FO_ARGUMENTS) { fo_sum<rule::adam>(plan, x, y, z); }

namespace rule {
// Update by AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections.
struct amsgrad : fo_rule {
    enum { states = 3, velocity = 1, nonnegative = 6 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_root = h[4], eps_hat = h[5], max_corrected = h[6];
        double correct = 1.0 - fo_power(beta2, t);
        double c2 = max_corrected ? 1.0 : fo_sqrt(correct);
        c[0] = lr * c2 / (1.0 - fo_power(beta1, t)); /* step_size */
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = beta2; /* keep */
        c[3] = 1.0 - beta2; /* w2 */
        c[4] = max_corrected ? 1.0 / correct : 1.0; /* seen */
        c[5] = eps_hat ? eps : eps * c2; /* eps */
        c[6] = eps_root * c2 * c2; /* root */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], seen = c[4], eps = c[5], root = c[6];
        real m = state_[0], v = state_[1], vmax = state_[2];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        vmax = fo_maximum(vmax, seen * v);
        const real update = step_size * m / (fo_sqrt(vmax + root) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = vmax;
        return update;
    }
};
}

FO_KERNEL amsgrad_prepare(FO_ARGUMENTS) { fo_prepare<rule::amsgrad>(plan, x, y, z); }
FO_KERNEL amsgrad_step(FO_ARGUMENTS) { fo_step<rule::amsgrad>(plan, x, y, z); }
FO_KERNEL amsgrad_sum(FO_ARGUMENTS) { fo_sum<rule::amsgrad>(plan, x, y, z); }

namespace rule {
// Update by AdaMax (Kingma and Ba, 2015, algorithm 2).
struct adamax : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_inside = h[4];
        c[0] = lr / (1.0 - fo_power(beta1, t)); /* step_size */
        c[1] = 1.0 - beta1; /* w */
        c[2] = beta2; /* keep */
        c[3] = eps_inside ? eps : 0.0; /* inner */
        c[4] = eps_inside ? 0.0 : eps; /* outer */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w = c[1], keep = c[2], inner = c[3], outer = c[4];
        real m = state_[0], largest = state_[1];
        m = m + w * (g - m);
        largest = fo_maximum(keep * largest, fo_fabs(g) + inner);
        const real update = step_size * m / (largest + outer);
        state_[0] = m;
        state_[1] = largest;
        return update;
    }
};
}

FO_KERNEL adamax_prepare(FO_ARGUMENTS) { fo_prepare<rule::adamax>(plan, x, y, z); }
FO_KERNEL adamax_step(FO_ARGUMENTS) { fo_step<rule::adamax>(plan, x, y, z); }
FO_KERNEL adamax_sum(FO_ARGUMENTS) { fo_sum<rule::adamax>(plan, x, y, z); }

namespace rule {
// Update by Adan (Xie et al., 2022, algorithm 1, with bias corrections).
struct adan : fo_rule {
    enum { states = 4, velocity = 3, nonnegative = 4 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], beta3 = h[3], eps = h[4], eps_root = h[5], short_look = h[6];
        double correct = 1.0 - fo_power(beta3, t);
        double c3 = fo_sqrt(correct);
        double step_size = lr * c3;
        double ahead = short_look ? 1.0 - beta2 : beta2;
        c[0] = step_size / (1.0 - fo_power(beta1, t)); /* of_m */
        c[1] = step_size * ahead / (1.0 - fo_power(beta2, t)); /* of_d */
        c[2] = 1.0 - beta1; /* w1 */
        c[3] = 1.0 - beta2; /* w2 */
        c[4] = ahead;
        c[5] = beta3; /* keep */
        c[6] = 1.0 - beta3; /* w3 */
        c[7] = eps * c3; /* eps */
        c[8] = eps_root * correct; /* root */
        c[9] = t > 1 ? 1.0 : 0.0; /* before */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real of_m = c[0], of_d = c[1], w1 = c[2], w2 = c[3], ahead = c[4], keep = c[5], w3 = c[6], eps = c[7], root = c[8];
        const real before = c[9];
        real m = state_[0], d = state_[1], v = state_[2], last = state_[3];
        real change = fo_where(before > (real)0.0, g - last, (real)0.0);
        real look = g + ahead * change;
        m = m + w1 * (g - m);
        d = d + w2 * (change - d);
        v = keep * v + w3 * look * look;
        const real update = (of_m * m + of_d * d) / (fo_sqrt(v + root) + eps);
        state_[0] = m;
        state_[1] = d;
        state_[2] = v;
        state_[3] = g;
        return update;
    }
};
}

FO_KERNEL adan_prepare(FO_ARGUMENTS) { fo_prepare<rule::adan>(plan, x, y, z); }
FO_KERNEL adan_step(FO_ARGUMENTS) { fo_step<rule::adan>(plan, x, y, z); }
FO_KERNEL adan_sum(FO_ARGUMENTS) { fo_sum<rule::adan>(plan, x, y, z); }

namespace rule {
// Update by AdEMAMix (Pagliardini et al., 2024, algorithm 1).
struct ademamix : fo_rule {
    enum { states = 3, velocity = 5, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], beta3 = h[3], alpha = h[4], warmup = h[5], eps = h[6];
        double part = (double)t < warmup ? (double)t / warmup : 1.0;
        double fast = fo_log(beta1);
        double slow = fo_log(beta3);
        double now = part < 1.0 ? fo_exp(fast * slow / ((1.0 - part) * slow + part * fast)) : beta3;
        double c2 = fo_sqrt(1.0 - fo_power(beta2, t));
        c[0] = lr * c2 / (1.0 - fo_power(beta1, t)); /* fast */
        c[1] = lr * c2 * alpha * part; /* slow */
        c[2] = 1.0 - beta1; /* w1 */
        c[3] = beta2; /* keep */
        c[4] = 1.0 - beta2; /* w2 */
        c[5] = 1.0 - (now < beta3 ? now : beta3); /* w3 */
        c[6] = eps * c2; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real fast = c[0], slow = c[1], w1 = c[2], keep = c[3], w2 = c[4], w3 = c[5], eps = c[6];
        real m = state_[0], v = state_[1], m2 = state_[2];
        m = m + w1 * (g - m);
        m2 = m2 + w3 * (g - m2);
        v = keep * v + w2 * g * g;
        const real update = (fast * m + slow * m2) / (fo_sqrt(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = m2;
        return update;
    }
};
}

FO_KERNEL ademamix_prepare(FO_ARGUMENTS) { fo_prepare<rule::ademamix>(plan, x, y, z); }
FO_KERNEL ademamix_step(FO_ARGUMENTS) { fo_step<rule::ademamix>(plan, x, y, z); }
FO_KERNEL ademamix_sum(FO_ARGUMENTS) { fo_sum<rule::ademamix>(plan, x, y, z); }

namespace rule {
// Update by ADOPT (Taniguchi et al., 2024, algorithm 2).
struct adopt : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3];
        c[0] = t > 1 ? lr : 0.0; /* lr */
        c[1] = t > 1 ? 1.0 - beta1 : 0.0; /* w1 */
        c[2] = t > 1 ? beta2 : 0.0; /* keep */
        c[3] = t > 1 ? 1.0 - beta2 : 1.0; /* w2 */
        c[4] = eps;
        c[5] = fo_sqrt(fo_sqrt((double)t - 1.0)); /* most */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5];
        real m = state_[0], v = state_[1];
        real scaled = fo_minimum(fo_maximum(g / fo_maximum(fo_sqrt(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const real update = lr * m;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL adopt_prepare(FO_ARGUMENTS) { fo_prepare<rule::adopt>(plan, x, y, z); }
FO_KERNEL adopt_step(FO_ARGUMENTS) { fo_step<rule::adopt>(plan, x, y, z); }
FO_KERNEL adopt_sum(FO_ARGUMENTS) { fo_sum<rule::adopt>(plan, x, y, z); }

namespace rule {
// Update by ADOPT (Taniguchi et al., 2024, algorithm 2), with decoupled weight decay.
struct adopt_decoupled : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], weight_decay = h[4];
        c[0] = t > 1 ? lr : 0.0; /* lr */
        c[1] = t > 1 ? 1.0 - beta1 : 0.0; /* w1 */
        c[2] = t > 1 ? beta2 : 0.0; /* keep */
        c[3] = t > 1 ? 1.0 - beta2 : 1.0; /* w2 */
        c[4] = eps;
        c[5] = fo_sqrt(fo_sqrt((double)t - 1.0)); /* most */
        c[6] = t > 1 ? lr * weight_decay : 0.0; /* decay */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], most = c[5], decay = c[6];
        real m = state_[0], v = state_[1];
        real scaled = fo_minimum(fo_maximum(g / fo_maximum(fo_sqrt(v), eps), -most), most);
        m = m + w1 * (scaled - m);
        v = keep * v + w2 * g * g;
        const real update = lr * m + decay * p;
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL adopt_decoupled_prepare(FO_ARGUMENTS) { fo_prepare<rule::adopt_decoupled>(plan, x, y, z); }
FO_KERNEL adopt_decoupled_step(FO_ARGUMENTS) { fo_step<rule::adopt_decoupled>(plan, x, y, z); }
FO_KERNEL adopt_decoupled_sum(FO_ARGUMENTS) { fo_sum<rule::adopt_decoupled>(plan, x, y, z); }

namespace rule {
// Update by averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou, 2010).
struct asgd : fo_rule {
    enum { states = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double eta = carry[0];
        double lr = h[0], lambd = h[1], alpha = h[2], t0 = h[3];
        double now = t == 1 ? lr : eta;
        double after = lr / fo_exp(alpha * fo_log(1.0 + lambd * lr * (double)t));
        c[0] = now; /* lr */
        c[1] = lambd * now; /* decay */
        c[2] = (double)t - 1.0 - t0 > 1.0 ? 1.0 / ((double)t - 1.0 - t0) : 1.0; /* share */
        carry[0] = after; /* eta */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], decay = c[1], share = c[2];
        real average = state_[0];
        real move = decay * p + lr * g;
        average = average + share * (p - move - average);
        const real update = move;
        state_[0] = average;
        return update;
    }
};
}

FO_KERNEL asgd_prepare(FO_ARGUMENTS) { fo_prepare<rule::asgd>(plan, x, y, z); }
FO_KERNEL asgd_step(FO_ARGUMENTS) { fo_step<rule::asgd>(plan, x, y, z); }
FO_KERNEL asgd_sum(FO_ARGUMENTS) { fo_sum<rule::asgd>(plan, x, y, z); }

namespace rule {
// Update by DoG, distance over gradients (Ivgi et al., 2023, eq. DoG), for all arrays of a group together.
struct dog : fo_rule {
    enum { states = 1, squares = 6 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double farthest = carry[0], seen = carry[1];
        double grads = sums[0], way = sums[1], way_exponent = sums[2], param = sums[3], param_exponent = sums[4];
        double lr = h[0], reps_rel = h[1], eps = h[2];
        double first = reps_rel * (1.0 + fo_ldexp(param, param_exponent));
        double far = farthest > 0.0 ? farthest : first;
        double far_now = fo_ldexp(way, way_exponent) > far ? fo_ldexp(way, way_exponent) : far;
        double total = (farthest > 0.0 ? seen : eps) + grads;
        c[0] = lr * far_now / fo_sqrt(total); /* lr */
        c[1] = 1.0; /* shift */
        carry[0] = far_now; /* farthest */
        carry[1] = total; /* seen */
    }

    FO_INLINE void sums_of(double p, double g, double p0, const double *c, double *out)
    {
        out[0] = g * g; /* grads */
        out[1] = p - p0; /* way */
        out[2] = p; /* param */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, e->state[0], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const double lr = c64_[0], shift = c64_[1];
        return fo_scale_by(g, lr, shift);
    }
};
}

FO_KERNEL dog_prepare(FO_ARGUMENTS) { fo_prepare<rule::dog>(plan, x, y, z); }
FO_KERNEL dog_step(FO_ARGUMENTS) { fo_step<rule::dog>(plan, x, y, z); }
FO_KERNEL dog_sum(FO_ARGUMENTS) { fo_sum<rule::dog>(plan, x, y, z); }

namespace rule {
// Update by FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1).
struct ftrl : fo_rule {
    enum { states = 2, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta = h[1], l1 = h[2], l2 = h[3], l2_doubled = h[4];
        c[0] = 1.0 / lr; /* rate */
        c[1] = beta / lr; /* beta */
        c[2] = l1;
        c[3] = l2_doubled ? 2.0 * l2 : l2; /* l2 */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real rate = c[0], beta = c[1], l1 = c[2], l2 = c[3];
        real z = state_[0], n2 = state_[1];
        real before = fo_sqrt(n2);
        n2 = n2 + g * g;
        real after = fo_sqrt(n2);
        z = z + g - rate * (after - before) * p;
        real target = fo_where(fo_fabs(z) > l1, (fo_copysign(l1, z) - z) / (rate * after + beta + l2), (real)0.0);
        const real update = p - target;
        state_[0] = z;
        state_[1] = n2;
        return update;
    }
};
}

FO_KERNEL ftrl_prepare(FO_ARGUMENTS) { fo_prepare<rule::ftrl>(plan, x, y, z); }
FO_KERNEL ftrl_step(FO_ARGUMENTS) { fo_step<rule::ftrl>(plan, x, y, z); }
FO_KERNEL ftrl_sum(FO_ARGUMENTS) { fo_sum<rule::ftrl>(plan, x, y, z); }

namespace rule {
// Update by LARS (You et al., 2017, algorithm 1).
struct lars : fo_rule {
    enum { states = 1, velocity = 1, squares = 3 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double param = sums[0], param_exponent = sums[1], grad = sums[2], grad_exponent = sums[3];
        double lr = h[0], momentum = h[1], weight_decay = h[2], trust_coefficient = h[3], eps = h[4];
        double decayed = weight_decay > 0.0 ? param_exponent : grad_exponent;
        double most = decayed > grad_exponent ? decayed : grad_exponent;
        double least = eps > 0.0 ? 0.0 : most;
        double top = most > least ? most : least;
        double length = fo_ldexp(grad, grad_exponent - top) + weight_decay * fo_ldexp(param, decayed - top) + fo_ldexp(eps, -top);
        double both = grad * param;
        c[0] = lr;
        c[1] = momentum; /* keep */
        c[2] = both == 0.0 ? 1.0 : fo_scale_factor(trust_coefficient * param / length, param_exponent - top); /* ratio */
        c[3] = both == 0.0 ? 1.0 : fo_scale_power(trust_coefficient * param / length, param_exponent - top); /* shift */
        c[4] = weight_decay; /* decay */
    }

    FO_INLINE void sums_of(double p, double g, const double *c, double *out)
    {
        out[0] = p; /* param */
        out[1] = g; /* grad */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], decay = c[4];
        const double ratio = c64_[2], shift = c64_[3];
        real buf = state_[0];
        buf = keep * buf + lr * fo_scale_by(g + decay * p, ratio, shift);
        const real update = buf;
        state_[0] = buf;
        return update;
    }
};
}

FO_KERNEL lars_prepare(FO_ARGUMENTS) { fo_prepare<rule::lars>(plan, x, y, z); }
FO_KERNEL lars_step(FO_ARGUMENTS) { fo_step<rule::lars>(plan, x, y, z); }
FO_KERNEL lars_sum(FO_ARGUMENTS) { fo_sum<rule::lars>(plan, x, y, z); }

namespace rule {
// Update by Lion (Chen et al., 2023, algorithm 2).
struct lion : fo_rule {
    enum { states = 1, velocity = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2];
        c[0] = lr;
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = 1.0 - beta2; /* w2 */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], w1 = c[1], w2 = c[2];
        real m = state_[0];
        real direction = m + w1 * (g - m);
        const real update = lr * fo_sign(direction);
        state_[0] = m + w2 * (g - m);
        return update;
    }
};
}

FO_KERNEL lion_prepare(FO_ARGUMENTS) { fo_prepare<rule::lion>(plan, x, y, z); }
FO_KERNEL lion_step(FO_ARGUMENTS) { fo_step<rule::lion>(plan, x, y, z); }
FO_KERNEL lion_sum(FO_ARGUMENTS) { fo_sum<rule::lion>(plan, x, y, z); }

namespace rule {
// Update by Muon (Jordan et al., 2024), with a momentum that has been orthogonalized.
struct muon : fo_rule {
    enum { states = 2, velocity = 1, scratch = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], momentum = h[1];
        c[0] = lr;
        c[1] = 1.0 - momentum; /* w */
    }

    FO_INLINE void terms_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double momentum = h[1], nesterov = h[2];
        c[0] = 1.0 - momentum; /* w */
        c[1] = nesterov ? momentum : 1.0; /* of_buf */
        c[2] = nesterov ? 1.0 - momentum : 0.0; /* of_g */
    }

    FO_INLINE void terms_of(double g, double buf, const double *c, double *out)
    {
        const double w = c[0], of_buf = c[1], of_g = c[2];
        out[0] = of_buf * (buf + w * (g - buf)) + of_g * g; /* direction */
    }

    template <class real> FO_INLINE void terms(const fo_element<real> *e, const double *c, double *out)
    {
        terms_of(e->g, e->state[0], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], w = c[1];
        real buf = state_[0], o = state_[1];
        const real update = lr * o;
        state_[0] = buf + w * (g - buf);
        return update;
    }
};
}

FO_KERNEL muon_prepare(FO_ARGUMENTS) { fo_prepare<rule::muon>(plan, x, y, z); }
FO_KERNEL muon_step(FO_ARGUMENTS) { fo_step<rule::muon>(plan, x, y, z); }
FO_KERNEL muon_sum(FO_ARGUMENTS) { fo_sum<rule::muon>(plan, x, y, z); }
FO_KERNEL muon_write_terms(FO_ARGUMENTS) { fo_write_terms<rule::muon>(plan, x, y, z); }

namespace rule {
// Update by NAdam (Dozat, 2016, algorithm 2).
struct nadam : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double product = carry[0];
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], momentum_decay = h[4];
        double now = beta1 * (1.0 - 0.5 * fo_exp((double)t * momentum_decay * fo_log(0.96)));
        double ahead = beta1 * (1.0 - 0.5 * fo_exp(((double)t + 1.0) * momentum_decay * fo_log(0.96)));
        product = product * now;
        double c2 = fo_sqrt(1.0 - fo_power(beta2, t));
        c[0] = lr * c2 * (1.0 - now) / (1.0 - product); /* of_g */
        c[1] = lr * c2 * ahead / (1.0 - product * ahead); /* of_m */
        c[2] = 1.0 - beta1; /* w1 */
        c[3] = beta2; /* keep */
        c[4] = 1.0 - beta2; /* w2 */
        c[5] = eps * c2; /* eps */
        carry[0] = product; /* product */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real of_g = c[0], of_m = c[1], w1 = c[2], keep = c[3], w2 = c[4], eps = c[5];
        real m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const real update = (of_g * g + of_m * m) / (fo_sqrt(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL nadam_prepare(FO_ARGUMENTS) { fo_prepare<rule::nadam>(plan, x, y, z); }
FO_KERNEL nadam_step(FO_ARGUMENTS) { fo_step<rule::nadam>(plan, x, y, z); }
FO_KERNEL nadam_sum(FO_ARGUMENTS) { fo_sum<rule::nadam>(plan, x, y, z); }

namespace rule {
// Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with decoupled weight decay.
struct prodigy : fo_rule {
    enum { states = 4, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double d = carry[0], d_max = carry[1], numerator = carry[2];
        double along = sums[0], length = sums[1];
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], d0 = h[4], d_coef = h[5], growth_rate = h[6];
        double use_bias_correction = h[7], weight_decay = h[8];
        double now = d > 0.0 ? d : d0;
        double top = d > 0.0 ? d_max : d0;
        double dlr = now * lr * (use_bias_correction ? fo_sqrt(1.0 - fo_power(beta2, t)) / (1.0 - fo_power(beta1, t)) : 1.0);
        double total = fo_sqrt(beta2) * numerator + now / d0 * dlr * along;
        double found = length > 0.0 ? d_coef * total / length : now;
        double raised = now == d0 ? (found > now ? found : now) : now;
        double most = found > top ? found : top;
        double after = length > 0.0 ? (most < raised * growth_rate ? most : raised * growth_rate) : now;
        c[0] = length > 0.0 ? dlr : 0.0; /* lr */
        c[1] = beta1; /* keep1 */
        c[2] = now * (1.0 - beta1); /* w1 */
        c[3] = beta2; /* keep2 */
        c[4] = now * now * (1.0 - beta2); /* w2 */
        c[5] = fo_sqrt(beta2); /* keep3 */
        c[6] = now / d0 * dlr; /* push */
        c[7] = after * eps; /* eps */
        c[8] = length > 0.0 ? dlr * weight_decay : 0.0; /* decay */
        carry[0] = after; /* d */
        carry[1] = most; /* d_max */
        carry[2] = total; /* numerator */
    }

    FO_INLINE void sums_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double d = carry[0];
        double lr = h[0], beta1 = h[1], beta2 = h[2], d0 = h[4], use_bias_correction = h[7];
        double now = d > 0.0 ? d : d0;
        double dlr = now * lr * (use_bias_correction ? fo_sqrt(1.0 - fo_power(beta2, t)) / (1.0 - fo_power(beta1, t)) : 1.0);
        c[0] = fo_sqrt(beta2); /* keep3 */
        c[1] = now / d0 * dlr; /* push */
    }

    FO_INLINE void sums_of(double p, double g, double s, double p0, const double *c, double *out)
    {
        const double keep3 = c[0], push = c[1];
        out[0] = g * (p0 - p); /* along */
        out[1] = fo_fabs(keep3 * s + push * g); /* length */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, e->state[2], e->state[3], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7], decay = c[8];
        real m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const real update = lr * m / (fo_sqrt(v) + eps) + decay * p;
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
};
}

FO_KERNEL prodigy_prepare(FO_ARGUMENTS) { fo_prepare<rule::prodigy>(plan, x, y, z); }
FO_KERNEL prodigy_step(FO_ARGUMENTS) { fo_step<rule::prodigy>(plan, x, y, z); }
FO_KERNEL prodigy_sum(FO_ARGUMENTS) { fo_sum<rule::prodigy>(plan, x, y, z); }

namespace rule {
// Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with weight decay in the gradient.
struct prodigy_coupled : fo_rule {
    enum { states = 4, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double d = carry[0], d_max = carry[1], numerator = carry[2];
        double along = sums[0], length = sums[1];
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], d0 = h[4], d_coef = h[5], growth_rate = h[6];
        double use_bias_correction = h[7];
        double now = d > 0.0 ? d : d0;
        double top = d > 0.0 ? d_max : d0;
        double dlr = now * lr * (use_bias_correction ? fo_sqrt(1.0 - fo_power(beta2, t)) / (1.0 - fo_power(beta1, t)) : 1.0);
        double total = fo_sqrt(beta2) * numerator + now / d0 * dlr * along;
        double found = length > 0.0 ? d_coef * total / length : now;
        double raised = now == d0 ? (found > now ? found : now) : now;
        double most = found > top ? found : top;
        double after = length > 0.0 ? (most < raised * growth_rate ? most : raised * growth_rate) : now;
        c[0] = length > 0.0 ? dlr : 0.0; /* lr */
        c[1] = beta1; /* keep1 */
        c[2] = now * (1.0 - beta1); /* w1 */
        c[3] = beta2; /* keep2 */
        c[4] = now * now * (1.0 - beta2); /* w2 */
        c[5] = fo_sqrt(beta2); /* keep3 */
        c[6] = now / d0 * dlr; /* push */
        c[7] = after * eps; /* eps */
        carry[0] = after; /* d */
        carry[1] = most; /* d_max */
        carry[2] = total; /* numerator */
    }

    FO_INLINE void sums_scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double d = carry[0];
        double lr = h[0], beta1 = h[1], beta2 = h[2], d0 = h[4], use_bias_correction = h[7];
        double now = d > 0.0 ? d : d0;
        double dlr = now * lr * (use_bias_correction ? fo_sqrt(1.0 - fo_power(beta2, t)) / (1.0 - fo_power(beta1, t)) : 1.0);
        c[0] = fo_sqrt(beta2); /* keep3 */
        c[1] = now / d0 * dlr; /* push */
    }

    FO_INLINE void sums_of(double p, double g, double s, double p0, const double *c, double *out)
    {
        const double keep3 = c[0], push = c[1];
        out[0] = g * (p0 - p); /* along */
        out[1] = fo_fabs(keep3 * s + push * g); /* length */
    }

    template <class real> FO_INLINE void sums(const fo_element<real> *e, const double *c, double *out)
    {
        sums_of(e->p, e->g, e->state[2], e->state[3], c, out);
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep1 = c[1], w1 = c[2], keep2 = c[3], w2 = c[4], keep3 = c[5], push = c[6], eps = c[7];
        real m = state_[0], v = state_[1], s = state_[2];
        m = keep1 * m + w1 * g;
        v = keep2 * v + w2 * g * g;
        s = keep3 * s + push * g;
        const real update = lr * m / (fo_sqrt(v) + eps);
        state_[0] = m;
        state_[1] = v;
        state_[2] = s;
        return update;
    }
};
}

FO_KERNEL prodigy_coupled_prepare(FO_ARGUMENTS) { fo_prepare<rule::prodigy_coupled>(plan, x, y, z); }
FO_KERNEL prodigy_coupled_step(FO_ARGUMENTS) { fo_step<rule::prodigy_coupled>(plan, x, y, z); }
FO_KERNEL prodigy_coupled_sum(FO_ARGUMENTS) { fo_sum<rule::prodigy_coupled>(plan, x, y, z); }

namespace rule {
// Update by RAdam (Liu et al., 2020, algorithm 2).
struct radam : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], eps_hat = h[4];
        double correct = 1.0 - fo_power(beta2, t);
        double longest = 2.0 / (1.0 - beta2) - 1.0;
        double length = longest - 2.0 * (double)t * fo_power(beta2, t) / correct;
        double rectified = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length);
        double step_size = lr / (1.0 - fo_power(beta1, t));
        c[0] = length > 5.0 ? step_size * fo_sqrt(rectified * correct) : step_size; /* step_size */
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = beta2; /* keep */
        c[3] = 1.0 - beta2; /* w2 */
        c[4] = eps_hat ? eps : eps * fo_sqrt(correct); /* eps */
        c[5] = length > 5.0 ? 1.0 : 0.0; /* adapt */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w1 = c[1], keep = c[2], w2 = c[3], eps = c[4], adapt = c[5];
        real m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = keep * v + w2 * g * g;
        const real update = step_size * m / fo_where(adapt > (real)0.0, fo_sqrt(v) + eps, (real)1.0);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL radam_prepare(FO_ARGUMENTS) { fo_prepare<rule::radam>(plan, x, y, z); }
FO_KERNEL radam_step(FO_ARGUMENTS) { fo_step<rule::radam>(plan, x, y, z); }
FO_KERNEL radam_sum(FO_ARGUMENTS) { fo_sum<rule::radam>(plan, x, y, z); }

namespace rule {
// Update by RMSprop (Tieleman and Hinton, 2012, lecture 6.5).
struct rmsprop : fo_rule {
    enum { states = 1, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], alpha = h[1], eps = h[2], eps_inside = h[3];
        c[0] = lr;
        c[1] = alpha; /* keep */
        c[2] = 1.0 - alpha; /* w */
        c[3] = eps_inside ? eps : 0.0; /* root */
        c[4] = eps_inside ? 0.0 : eps; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        real v = state_[0];
        v = keep * v + w * g * g;
        const real update = lr * g / (fo_sqrt(v + root) + eps);
        state_[0] = v;
        return update;
    }
};
}

FO_KERNEL rmsprop_prepare(FO_ARGUMENTS) { fo_prepare<rule::rmsprop>(plan, x, y, z); }
FO_KERNEL rmsprop_step(FO_ARGUMENTS) { fo_step<rule::rmsprop>(plan, x, y, z); }
FO_KERNEL rmsprop_sum(FO_ARGUMENTS) { fo_sum<rule::rmsprop>(plan, x, y, z); }

namespace rule {
// Update by RMSprop with the variance (Graves, 2013, eq. 38-45), which rounding must not make negative.
struct rmsprop_centered : fo_rule {
    enum { states = 2, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], alpha = h[1], eps = h[2], eps_inside = h[3];
        c[0] = lr;
        c[1] = alpha; /* keep */
        c[2] = 1.0 - alpha; /* w */
        c[3] = eps_inside ? eps : 0.0; /* root */
        c[4] = eps_inside ? 0.0 : eps; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4];
        real v = state_[0], mean = state_[1];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        const real update = lr * g / (fo_sqrt(fo_maximum(v - mean * mean, (real)0.0) + root) + eps);
        state_[0] = v;
        state_[1] = mean;
        return update;
    }
};
}

FO_KERNEL rmsprop_centered_prepare(FO_ARGUMENTS) { fo_prepare<rule::rmsprop_centered>(plan, x, y, z); }
FO_KERNEL rmsprop_centered_step(FO_ARGUMENTS) { fo_step<rule::rmsprop_centered>(plan, x, y, z); }
FO_KERNEL rmsprop_centered_sum(FO_ARGUMENTS) { fo_sum<rule::rmsprop_centered>(plan, x, y, z); }

namespace rule {
// Update by RMSprop with heavy-ball momentum over the scaled gradient.
struct rmsprop_momentum : fo_rule {
    enum { states = 2, velocity = 2, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], alpha = h[1], eps = h[2], momentum = h[3], eps_inside = h[4], lr_in_velocity = h[5];
        c[0] = lr_in_velocity ? 1.0 : lr; /* lr */
        c[1] = alpha; /* keep */
        c[2] = 1.0 - alpha; /* w */
        c[3] = eps_inside ? eps : 0.0; /* root */
        c[4] = eps_inside ? 0.0 : eps; /* eps */
        c[5] = momentum; /* roll */
        c[6] = lr_in_velocity ? lr : 1.0; /* take */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        real v = state_[0], buf = state_[1];
        v = keep * v + w * g * g;
        buf = roll * buf + take * g / (fo_sqrt(v + root) + eps);
        const real update = lr * buf;
        state_[0] = v;
        state_[1] = buf;
        return update;
    }
};
}

FO_KERNEL rmsprop_momentum_prepare(FO_ARGUMENTS) { fo_prepare<rule::rmsprop_momentum>(plan, x, y, z); }
FO_KERNEL rmsprop_momentum_step(FO_ARGUMENTS) { fo_step<rule::rmsprop_momentum>(plan, x, y, z); }
FO_KERNEL rmsprop_momentum_sum(FO_ARGUMENTS) { fo_sum<rule::rmsprop_momentum>(plan, x, y, z); }

namespace rule {
// Update by centered RMSprop with momentum (Graves, 2013, eq. 38-45).
struct rmsprop_centered_momentum : fo_rule {
    enum { states = 3, velocity = 4, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], alpha = h[1], eps = h[2], momentum = h[3], eps_inside = h[4], lr_in_velocity = h[5];
        c[0] = lr_in_velocity ? 1.0 : lr; /* lr */
        c[1] = alpha; /* keep */
        c[2] = 1.0 - alpha; /* w */
        c[3] = eps_inside ? eps : 0.0; /* root */
        c[4] = eps_inside ? 0.0 : eps; /* eps */
        c[5] = momentum; /* roll */
        c[6] = lr_in_velocity ? lr : 1.0; /* take */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], w = c[2], root = c[3], eps = c[4], roll = c[5], take = c[6];
        real v = state_[0], mean = state_[1], buf = state_[2];
        v = keep * v + w * g * g;
        mean = mean + w * (g - mean);
        buf = roll * buf + take * g / (fo_sqrt(fo_maximum(v - mean * mean, (real)0.0) + root) + eps);
        const real update = lr * buf;
        state_[0] = v;
        state_[1] = mean;
        state_[2] = buf;
        return update;
    }
};
}

FO_KERNEL rmsprop_centered_momentum_prepare(FO_ARGUMENTS) { fo_prepare<rule::rmsprop_centered_momentum>(plan, x, y, z); }
FO_KERNEL rmsprop_centered_momentum_step(FO_ARGUMENTS) { fo_step<rule::rmsprop_centered_momentum>(plan, x, y, z); }
FO_KERNEL rmsprop_centered_momentum_sum(FO_ARGUMENTS) { fo_sum<rule::rmsprop_centered_momentum>(plan, x, y, z); }

namespace rule {
// Update by resilient backpropagation without backtracking (Riedmiller and Braun, 1993; Igel and Huesken, 2000).
struct rprop : fo_rule {
    enum { states = 2, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], eta_minus = h[1], eta_plus = h[2], step_min = h[3], step_max = h[4];
        c[0] = t == 1 ? lr : 0.0; /* start */
        c[1] = eta_minus; /* down */
        c[2] = eta_plus; /* up */
        c[3] = step_min; /* least */
        c[4] = step_max; /* most */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real start = c[0], down = c[1], up = c[2], least = c[3], most = c[4];
        real last = state_[0], size = state_[1];
        real agree = fo_sign(g) * last;
        real factor = fo_where(agree > (real)0.0, up, (real)1.0) * fo_where(agree < (real)0.0, down, (real)1.0);
        size = fo_minimum(fo_maximum(factor * fo_where(size > (real)0.0, size, start), least), most);
        last = fo_where(agree < (real)0.0, (real)0.0, g);
        const real update = size * fo_sign(last);
        state_[0] = last;
        state_[1] = size;
        return update;
    }
};
}

FO_KERNEL rprop_prepare(FO_ARGUMENTS) { fo_prepare<rule::rprop>(plan, x, y, z); }
FO_KERNEL rprop_step(FO_ARGUMENTS) { fo_step<rule::rprop>(plan, x, y, z); }
FO_KERNEL rprop_sum(FO_ARGUMENTS) { fo_sum<rule::rprop>(plan, x, y, z); }

namespace rule {
// Update by schedule-free SGD (Defazio et al., 2024, eq. 3-5), at the points where gradients are taken.
struct schedule_free_sgd : fo_rule {
    enum { states = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double weights = carry[0], highest = carry[1];
        double lr = h[0], momentum = h[1], warmup = h[2], warmup_from_zero = h[3];
        double full = (double)t < warmup ? lr * (double)t / warmup : lr;
        double rate = warmup_from_zero ? ((double)t - 1.0 < warmup ? lr * ((double)t - 1.0) / warmup : lr) : full;
        double top = full > highest ? full : highest;
        double total = weights + top * top;
        double share = total > 0.0 ? top * top / total : 0.0;
        c[0] = rate; /* lr */
        c[1] = share;
        c[2] = rate * (1.0 - momentum * (1.0 - share)); /* of_g */
        carry[0] = total; /* weights */
        carry[1] = top; /* highest */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], share = c[1], of_g = c[2];
        real z = state_[0];
        const real update = share * (p - z) + of_g * g;
        state_[0] = z - lr * g;
        return update;
    }
};
}

FO_KERNEL schedule_free_sgd_prepare(FO_ARGUMENTS) { fo_prepare<rule::schedule_free_sgd>(plan, x, y, z); }
FO_KERNEL schedule_free_sgd_step(FO_ARGUMENTS) { fo_step<rule::schedule_free_sgd>(plan, x, y, z); }
FO_KERNEL schedule_free_sgd_sum(FO_ARGUMENTS) { fo_sum<rule::schedule_free_sgd>(plan, x, y, z); }

namespace rule {
// Update by schedule-free AdamW (Defazio et al., 2024), with the bias correction as in the authors' package.
struct schedule_free_adamw : fo_rule {
    enum { states = 2, nonnegative = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double weights = carry[0], highest = carry[1];
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], weight_decay = h[4], warmup = h[5], warmup_from_zero = h[6];
        double correct = fo_sqrt(1.0 - fo_power(beta2, t));
        double full = (double)t < warmup ? lr * (double)t / warmup : lr;
        double rate = warmup_from_zero ? ((double)t - 1.0 < warmup ? lr * ((double)t - 1.0) / warmup : lr) : full;
        double top = full > highest ? full : highest;
        double total = weights + top * top;
        double share = total > 0.0 ? top * top / total : 0.0;
        c[0] = rate; /* lr */
        c[1] = share;
        c[2] = rate * (1.0 - beta1 * (1.0 - share)); /* of_d */
        c[3] = correct;
        c[4] = beta2; /* keep */
        c[5] = 1.0 - beta2; /* w2 */
        c[6] = eps * correct; /* eps */
        c[7] = weight_decay; /* decay */
        carry[0] = total; /* weights */
        carry[1] = top; /* highest */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], share = c[1], of_d = c[2], correct = c[3], keep = c[4], w2 = c[5], eps = c[6], decay = c[7];
        real v = state_[0], z = state_[1];
        v = keep * v + w2 * g * g;
        real direction = correct * g / (fo_sqrt(v) + eps) + decay * p;
        const real update = share * (p - z) + of_d * direction;
        state_[0] = v;
        state_[1] = z - lr * direction;
        return update;
    }
};
}

FO_KERNEL schedule_free_adamw_prepare(FO_ARGUMENTS) { fo_prepare<rule::schedule_free_adamw>(plan, x, y, z); }
FO_KERNEL schedule_free_adamw_step(FO_ARGUMENTS) { fo_step<rule::schedule_free_adamw>(plan, x, y, z); }
FO_KERNEL schedule_free_adamw_sum(FO_ARGUMENTS) { fo_sum<rule::schedule_free_adamw>(plan, x, y, z); }

namespace rule {
// Update by stochastic gradient descent (Robbins and Monro, 1951).
struct sgd : fo_rule {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0];
        c[0] = lr;
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0];
        return lr * g;
    }
};
}

FO_KERNEL sgd_prepare(FO_ARGUMENTS) { fo_prepare<rule::sgd>(plan, x, y, z); }
FO_KERNEL sgd_step(FO_ARGUMENTS) { fo_step<rule::sgd>(plan, x, y, z); }
FO_KERNEL sgd_sum(FO_ARGUMENTS) { fo_sum<rule::sgd>(plan, x, y, z); }

namespace rule {
// Update by heavy-ball momentum (Polyak, 1964).
struct momentum : fo_rule {
    enum { states = 1, velocity = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], momentum = h[1], dampening = h[2], lr_in_velocity = h[3];
        double take = t > 1 ? 1.0 - dampening : 1.0;
        c[0] = lr_in_velocity ? 1.0 : lr; /* lr */
        c[1] = t > 1 ? momentum : 0.0; /* keep */
        c[2] = lr_in_velocity ? take * lr : take; /* take */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], keep = c[1], take = c[2];
        real buf = state_[0];
        buf = keep * buf + take * g;
        const real update = lr * buf;
        state_[0] = buf;
        return update;
    }
};
}

FO_KERNEL momentum_prepare(FO_ARGUMENTS) { fo_prepare<rule::momentum>(plan, x, y, z); }
FO_KERNEL momentum_step(FO_ARGUMENTS) { fo_step<rule::momentum>(plan, x, y, z); }
FO_KERNEL momentum_sum(FO_ARGUMENTS) { fo_sum<rule::momentum>(plan, x, y, z); }

namespace rule {
// Update by Nesterov's momentum in the form of Sutskever et al. (2013).
struct nesterov : fo_rule {
    enum { states = 1, velocity = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], momentum = h[1], lr_in_velocity = h[2];
        c[0] = t > 1 ? momentum : 0.0; /* keep */
        c[1] = lr_in_velocity ? lr : 1.0; /* take */
        c[2] = lr;
        c[3] = lr_in_velocity ? momentum : lr * momentum; /* ahead */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real keep = c[0], take = c[1], lr = c[2], ahead = c[3];
        real buf = state_[0];
        buf = keep * buf + take * g;
        const real update = lr * g + ahead * buf;
        state_[0] = buf;
        return update;
    }
};
}

FO_KERNEL nesterov_prepare(FO_ARGUMENTS) { fo_prepare<rule::nesterov>(plan, x, y, z); }
FO_KERNEL nesterov_step(FO_ARGUMENTS) { fo_step<rule::nesterov>(plan, x, y, z); }
FO_KERNEL nesterov_sum(FO_ARGUMENTS) { fo_sum<rule::nesterov>(plan, x, y, z); }

namespace rule {
// Update by the sign of the gradient (Bernstein et al., 2018, algorithm 1).
struct signsgd : fo_rule {
    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0];
        c[0] = lr;
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0];
        return lr * fo_sign(g);
    }
};
}

FO_KERNEL signsgd_prepare(FO_ARGUMENTS) { fo_prepare<rule::signsgd>(plan, x, y, z); }
FO_KERNEL signsgd_step(FO_ARGUMENTS) { fo_step<rule::signsgd>(plan, x, y, z); }
FO_KERNEL signsgd_sum(FO_ARGUMENTS) { fo_sum<rule::signsgd>(plan, x, y, z); }

namespace rule {
// Update by the sign of an average of gradients (Bernstein et al., 2018, algorithm 2).
struct signum : fo_rule {
    enum { states = 1, velocity = 1 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], momentum = h[1];
        c[0] = lr;
        c[1] = 1.0 - momentum; /* w */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real lr = c[0], w = c[1];
        real buf = state_[0];
        buf = buf + w * (g - buf);
        const real update = lr * fo_sign(buf);
        state_[0] = buf;
        return update;
    }
};
}

FO_KERNEL signum_prepare(FO_ARGUMENTS) { fo_prepare<rule::signum>(plan, x, y, z); }
FO_KERNEL signum_step(FO_ARGUMENTS) { fo_step<rule::signum>(plan, x, y, z); }
FO_KERNEL signum_sum(FO_ARGUMENTS) { fo_sum<rule::signum>(plan, x, y, z); }

namespace rule {
// Update by Yogi (Zaheer et al., 2018, algorithm 2).
struct yogi : fo_rule {
    enum { states = 2, velocity = 1, nonnegative = 2 };

    FO_INLINE void scalars(int64_t t, double *carry, const double *sums, const double *h, double *c)
    {
        double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3];
        double c2 = fo_sqrt(1.0 - fo_power(beta2, t));
        c[0] = lr * c2 / (1.0 - fo_power(beta1, t)); /* step_size */
        c[1] = 1.0 - beta1; /* w1 */
        c[2] = 1.0 - beta2; /* w2 */
        c[3] = eps * c2; /* eps */
    }

    template <class real> FO_INLINE real update(real p, real g, real *state_, const real *c, const double *c64_)
    {
        const real step_size = c[0], w1 = c[1], w2 = c[2], eps = c[3];
        real m = state_[0], v = state_[1];
        m = m + w1 * (g - m);
        v = v - w2 * g * g * fo_sign(v - g * g);
        const real update = step_size * m / (fo_sqrt(v) + eps);
        state_[0] = m;
        state_[1] = v;
        return update;
    }
};
}

FO_KERNEL yogi_prepare(FO_ARGUMENTS) { fo_prepare<rule::yogi>(plan, x, y, z); }
FO_KERNEL yogi_step(FO_ARGUMENTS) { fo_step<rule::yogi>(plan, x, y, z); }
FO_KERNEL yogi_sum(FO_ARGUMENTS) { fo_sum<rule::yogi>(plan, x, y, z); }
