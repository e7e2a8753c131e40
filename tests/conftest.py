"""What every test relies on."""

import signal

# A shell without job control starts background jobs with SIGINT ignored, and whatever they start inherits that; the
# tests that press Ctrl-C need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)
