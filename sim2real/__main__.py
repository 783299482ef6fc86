"""`python -m sim2real`."""

from sim2real.command_line import main

raise SystemExit(main())
