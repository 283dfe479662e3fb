"""`python -m smat.cli`, which is also how the processes of a run on several devices are started."""

from smat.cli import main

main()
