//! Faults of the machine below a job on the user store: each has its own error, and nothing is lost.

mod calls;
