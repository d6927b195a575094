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

# Speed against what one would use instead: workloads of benches/README.md, all without a name
bench *workloads:
    cargo build --release --lib
    benches/run.py {{workloads}}
