//! Sets the library's SONAME.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
