//! Sets the library's SONAME, and compares the C header with the code it is generated from.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const HEADER: &str = "include/cs_backup.h";
/// Where the numbers of the error kinds stand.
const ERRORS: &str = "src/error.rs";
/// Set to 1 to write the header instead of comparing it.
const UPDATE: &str = "CSB_UPDATE_HEADER";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/ffi.rs");
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed={ERRORS}");
    println!("cargo::rerun-if-changed={HEADER}");
    println!("cargo::rerun-if-env-changed={UPDATE}");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // A library without a SONAME cannot be found by its name.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcs_backup.so");
        // Worker threads may be running when a host unloads the library.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    check_header(&PathBuf::from(env::var("CARGO_MANIFEST_DIR")?))
}

fn check_header(root: &Path) -> Result<(), Box<dyn Error>> {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let sources = ["ffi.rs", "ffi/status.rs", "ffi/string.rs", "ffi/service.rs", "ffi/job.rs"];
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |builder, source| {
        builder.with_src(root.join("src").join(source))
    });
    let mut generated = Vec::new();
    builder.generate()?.write(&mut generated);
    let ok = "#define CSB_STATUS_OK 0\n";
    let generated = String::from_utf8(generated)?
        .replace(ok, &format!("{ok}{}", statuses(&fs::read_to_string(root.join(ERRORS))?)))
        .replace("\n\n # Safety\n See the rules of the header.", "")
        .replace("\n\n # Safety\n `string` is NULL or came from this library and was not freed before.", "");
    let path = root.join(HEADER);
    if env::var(UPDATE).is_ok_and(|value| value == "1") {
        fs::write(&path, generated)?;
    } else if fs::read_to_string(&path).ok().as_deref() != Some(generated.as_str()) {
        println!("cargo::error={HEADER} is not what src/ffi says. Update it with: {UPDATE}=1 cargo build");
    }
    Ok(())
}

/// The number of every error kind by name, out of the one list that there is of them.
fn statuses(errors: &str) -> String {
    let list =
        errors.lines().skip_while(|line| *line != "error_kinds! {").skip(1).take_while(|line| *line != "}");
    let mut comment = "";
    let mut constants = String::new();
    for line in list.map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = text;
        } else if let Some((name, number)) = line.split_once(" = ") {
            let number = number.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            let name = upper_case(name);
            constants += &format!("\n/*\n {comment}\n */\n#define CSB_STATUS_{name} {number}\n");
        }
    }
    constants
}

/// `StoreBusy` as `STORE_BUSY`.
fn upper_case(name: &str) -> String {
    let words = name.char_indices().map(|(at, letter)| {
        let between = if at > 0 && letter.is_ascii_uppercase() { "_" } else { "" };
        format!("{between}{}", letter.to_ascii_uppercase())
    });
    words.collect()
}
