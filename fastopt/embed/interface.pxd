"""Declarations of ``fastopt.h`` for Cython: ``from fastopt cimport fastopt_apply``."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t

cdef extern from "fastopt.h" nogil:
    enum:
        FASTOPT_ABI
        FASTOPT_FLOAT32
        FASTOPT_FLOAT64
        FASTOPT_BFLOAT16
        FASTOPT_FLOAT16
        FASTOPT_FLOAT8
        FASTOPT_OK
        FASTOPT_BAD_STRUCT
        FASTOPT_BAD_POINTER
        FASTOPT_BAD_FORMAT
        FASTOPT_BAD_NUMBER
        FASTOPT_BAD_PART
        FASTOPT_NO_MEMORY

    ctypedef struct fastopt_rule:
        size_t size
        const void *owner
        const char *name
        int32_t n_states, n_hyperparameters, n_carry, n_sums
        const char *const *states
        uint32_t start_mask
        const char *const *hyperparameters
        const double *defaults
        const double *lower
        const double *upper
        const char *const *carry
        const double *initial

    ctypedef struct fastopt_stage:
        size_t size
        const void *owner
        const char *name
        int32_t n_hyperparameters, n_arrays, n_sums
        const char *const *hyperparameters
        const double *neutral
        const char *const *arrays
        const double *lower
        const double *upper

    ctypedef struct fastopt_stage_args:
        size_t size
        const fastopt_stage *stage
        const double *hyperparameters
        void *arrays[2]

    ctypedef struct fastopt_update:
        size_t size
        const fastopt_rule *rule
        int64_t n
        int64_t t
        int32_t param_format, grad_format, state_format
        int32_t nearest
        const void *param_in
        void *param_out
        const void *grad
        void *state[6]
        int16_t *exponents[6]
        float *master
        int16_t *low_bits
        const double *hyperparameters
        const double *carry_in
        double *carry_out
        const fastopt_stage_args *stages
        int32_t n_stages
        uint32_t seed
        int64_t position

    ctypedef struct fastopt_interface:
        size_t size
        int32_t abi
        const fastopt_rule *(*find_rule)(const char *name) noexcept nogil
        const fastopt_rule *(*rule_at)(int32_t k) noexcept nogil
        const fastopt_stage *(*find_stage)(const char *name) noexcept nogil
        const fastopt_stage *(*stage_at)(int32_t k) noexcept nogil
        int32_t (*apply)(const fastopt_update *updates, int64_t count, int32_t threads) noexcept nogil
        int32_t (*apply_part)(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts) noexcept nogil
        const char *(*message)() noexcept nogil

cdef const fastopt_rule *fastopt_find_rule(const char *name) noexcept nogil
cdef const fastopt_rule *fastopt_rule_at(int32_t k) noexcept nogil
cdef const fastopt_stage *fastopt_find_stage(const char *name) noexcept nogil
cdef const fastopt_stage *fastopt_stage_at(int32_t k) noexcept nogil
cdef int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads) noexcept nogil
cdef int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts) noexcept nogil
cdef const char *fastopt_message() noexcept nogil
