"""`python -P -m tanbiao`: the same as the command `tanbiao`; the demo starts its children so."""

from tanbiao.cli import main

main()
