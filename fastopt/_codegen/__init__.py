"""The code generator: reads rules and stages, and renders them in other languages. It needs the standard library only."""
