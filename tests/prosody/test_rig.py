"""What the rig takes for trouble in Prosody's log, and what for Prosody's own."""

from __future__ import annotations

import pytest

from logs import ERROR_LINE, TRACEBACK, trouble_in, without_prosodys_own

RUNS, STOPS, STARTS = (
    f"Nov 22 12:24:06 {line}\n"
    for line in ("c2s1\tinfo\tClient connected", "mod_posix\twarn\tReceived SIGTERM", "general\tinfo\tHello and welcome to Prosody version 0.12.3")
)
TOP = """Nov 22 12:24:06 general\terror\tTop-level error, please report:
.../0.12/usr/bin/../../usr/lib/prosody/net/server_epoll.lua:696: attempt to index a nil value (field 'conn')
Nov 22 12:24:06 general\terror\t
\tstack traceback:
\t.../0.12/usr/bin/../../usr/lib/prosody/net/server_epoll.lua:696: in method 'onreadable'
\t[C]: in ?
"""
STREAM = """Nov 22 12:24:06 c2s1\terror\tTraceback[c2s]: ...prosody/modules/mod_c2s.lua:118: attempt to call a nil value (method 'open_stream')
\tstack traceback:
\t...y/0.12/usr/bin/../../usr/lib/prosody/modules/mod_c2s.lua:118: in field '_streamopened'
"""


def trouble(log: str) -> list[str]:
    log = without_prosodys_own(log)
    return trouble_in(log, TRACEBACK, []) + trouble_in(log, ERROR_LINE, [])


@pytest.mark.parametrize("fault", [TOP, STREAM], ids=["top level", "stream"])
def test_what_prosody_itself_does_wrong_while_it_stops_is_no_trouble_of_ours(fault: str):
    assert not trouble(RUNS + STOPS + fault + RUNS + fault)
    assert not trouble(STOPS + fault + STARTS + RUNS + STOPS + fault + STARTS)


@pytest.mark.parametrize("fault", [TOP, STREAM], ids=["top level", "stream"])
def test_a_fault_is_trouble_when_prosody_does_not_stop(fault: str):
    assert trouble(RUNS + fault)
    assert trouble(STOPS + STARTS + fault)


@pytest.mark.parametrize("fault", [TOP, STREAM], ids=["top level", "stream"])
@pytest.mark.parametrize("module", ["saslcertd/client.lib.lua", "auth_saslcertd/mod_auth_saslcertd.lua"])
def test_a_fault_with_a_line_of_ours_is_trouble_always(fault: str, module: str):
    ours = f"\t...prosody-glue/mod_{module}:12: in function 'send'\n"
    assert trouble(STOPS + fault + ours)
    assert trouble(STOPS + fault.replace("\tstack traceback:\n", "\tstack traceback:\n" + ours))
    assert trouble(STOPS + fault.replace("modules/mod_c2s.lua", f"prosody-glue/mod_{module}").replace("net/server_epoll.lua", f"mod_{module}"))
