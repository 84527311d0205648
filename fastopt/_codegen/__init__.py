"""The code generator: rules and stages as text, and what is rendered from them. It needs the standard library alone."""
