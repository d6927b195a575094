# The project's commands in one place; each is an ordinary command that works without `just`.

# Two pools with data, a backup, some changes, a sync
demo folder="":
    scripts/demo.sh {{folder}}

# Everything that is tested
test:
    scripts/test.sh

# What is tested without another program
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test

# Writes include/cs_backup.h after src/ffi has changed
header:
    CSB_UPDATE_HEADER=1 cargo build

# Merges the sources of the PowerShell module
module:
    ps-module/build.sh

# 10,000 kills of the user store's job beside writers, and 2,000 of jobs that take no lock; about an hour. The seed in the output plays it again
kills each="2500":
    CSB_KILLS={{each}} cargo test --test integration kill::users -- --nocapture

# Speed against what one would use instead: workloads of benches/README.md, all without a name
bench *workloads:
    cargo build --release --lib
    benches/run.py {{workloads}}
