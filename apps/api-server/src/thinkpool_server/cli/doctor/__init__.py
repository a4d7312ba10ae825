"""`thinkpool doctor`: looks at everything a server needs, and says what is wrong and how to mend it."""

from thinkpool_server.cli.doctor.command import DoctorOptions, run_doctor

__all__ = ["DoctorOptions", "run_doctor"]
