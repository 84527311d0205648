"""Spans: optimizers of a part of packed parameters, whose steps have the bits of those over all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._arrays import dtypes
from .._arrays.packing import Packed, Piece
from .._arrays.tree import Structure

if TYPE_CHECKING:
    from .parameter import Parameter

Pieces = Mapping[str, Piece]


def opened(params: Any, settings: Any) -> tuple[Any, Pieces | None]:
    """Return the tree of parameters that may be packed, and the parts that an optimizer with these settings steps; None for all."""
    if settings.span is None:
        return params.tree if isinstance(params, Packed) else params, None
    if not isinstance(params, Packed):
        raise TypeError(f"span: of {type(params).__name__}, expected packed parameters, which fastopt.pack(params) makes")
    if settings.mode == "exact":
        raise ValueError("span: with mode='exact', whose rows belong together; expected one of the two")
    return params.tree, {piece.name: piece for piece in params.pieces_of(settings.span)}


def laid_out(
    params: Packed, pieces: Pieces, parameters: list[Parameter], span: tuple[int, int]
) -> tuple[Structure | None, list[tuple[str, Any]]]:
    """Return the nesting of a span's parameters, a dict by name or the single array that was packed, and these; check the cuts."""
    check_span(parameters, span, params.size)
    structure = Structure(tuple(pieces), [None] * len(pieces), "") if params.is_nested or not pieces else None
    return structure, [(s.name, s.source) for s in parameters]


def cut(piece: Piece | None, a: Any, *given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a piece of an array, and of what options give for its elements."""
    return (a, *given) if piece is None else (piece.of(a), *({key: piece.of(x) for key, x in each.items()} for each in given))


def check_span(parameters: Iterable[Parameter], span: tuple[int, int], size: int) -> None:
    """Raise if a span cuts what its optimizer needs whole."""
    uneven = [place for place in span if place not in (0, size) and place % dtypes.BLOCK]
    for parameter in parameters:
        over_all = [f.name for f in formulas_of(parameter) if f.scope in ("over_group", "over_all")]
        if over_all and uneven:
            raise ValueError(f"span: {span}, expected multiples of {dtypes.BLOCK} for {over_all[0]}, not {uneven[0]}")
        if parameter.piece is not None and parameter.piece.is_cut:
            check_piece(parameter, parameter.piece, span)


def formulas_of(parameter: Parameter) -> tuple[Any, ...]:
    """Return the rule of a parameter, and its group's stages."""
    return parameter.rule, *parameter.group.stages


def check_piece(parameter: Parameter, piece: Piece, span: tuple[int, int]) -> None:
    """Raise if the piece of a parameter is not enough for its rule, its stages or its format."""
    name = piece.name
    for f in formulas_of(parameter):
        if f.terms_scope or (f.scope.endswith("over_array") and f.kind not in ("checks", "measures")):
            raise ValueError(
                f"span: {span} cuts {name!r}, which {f.name} needs whole; expected one of packed.cut(parts, whole=True)"
            )
    reals = 2 if piece.dtype.kind == "c" else 1
    ends = [x for x in (piece.start, piece.stop) if x * reals % dtypes.BLOCK and x != math.prod(piece.shape)]
    if parameter.exponents and ends:
        said = f"cuts a block of {dtypes.BLOCK} elements of {name!r} in float8"
        raise ValueError(f"span: {span} {said}; expected one of packed.cut(parts, whole=True)")
