from fastopt.embed.interface cimport (
    FASTOPT_ABI, FASTOPT_BAD_FORMAT, FASTOPT_BAD_NUMBER, FASTOPT_BAD_PART, FASTOPT_BAD_POINTER, FASTOPT_BAD_STRUCT, FASTOPT_BFLOAT16,
    FASTOPT_FLOAT8, FASTOPT_FLOAT16, FASTOPT_FLOAT32, FASTOPT_FLOAT64, FASTOPT_NO_MEMORY, FASTOPT_OK, fastopt_apply,
    fastopt_apply_part, fastopt_find_rule, fastopt_find_stage, fastopt_interface, fastopt_message, fastopt_rule, fastopt_rule_at,
    fastopt_stage, fastopt_stage_at, fastopt_update, fastopt_stage_args,
)
