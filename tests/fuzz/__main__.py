import sys

# What is installed, as pytest takes it, rather than what lies beside: in a checkout, that may be without extensions.
sys.path.append(sys.path.pop(0))

from .driver import main

raise SystemExit(main())
