//! The kernels for the host, as two shared libraries: a fast one, and one with sanitizers.
//!
//! They take minutes to compile, so what was compiled stays until its source or any header changes, or how it is compiled.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{modified, newest, run, run_all, sources};

/// No multiplication is fused with an addition unless a kernel says so, as under nvcc.
const COMMON: [&str; 8] =
    ["-std=c++17", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-x", "c++"];
const BUILDS: [(&str, &[&str]); 2] = [
    ("emulator", &["-O2"]),
    ("emulator-sanitized", &["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
];

/// Makes `emulator.so` and `emulator-sanitized.so` in `out`.
pub(crate) fn build(kernels: &Path, out: &Path) {
    println!("cargo::rerun-if-env-changed=CXX");
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut compiles = Vec::new();
    let mut links = Vec::new();
    let how = format!("{compiler} {COMMON:?} {BUILDS:?}");
    let stamp = out.join("emulator.stamp");
    let known = fs::read_to_string(&stamp).is_ok_and(|known| known == how);
    let headers = newest(kernels).max(newest(&kernels.join("host")));
    for (name, flags) in BUILDS {
        let mut link = Command::new(&compiler);
        link.args(["-shared", "-o"]).arg(out.join(format!("{name}.so"))).args(flags);
        let host =
            ["emulator.cpp", "cublaslt.cpp", "mistakes.cu"].map(|name| kernels.join("host").join(name));
        for source in sources(kernels).into_iter().chain(host) {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            let object = out.join(format!("{name}-{stem}.o"));
            let since = modified(&source).max(headers);
            if !known || modified(&object) <= since {
                let mut compile = Command::new(&compiler);
                compile.args(COMMON).args(flags);
                compile.arg("-I").arg(kernels).arg("-c").arg(source).arg("-o").arg(&object);
                compiles.push(compile);
            }
            link.arg(object);
        }
        links.push(link);
    }
    let built = run_all(compiles).and_then(|()| links.into_iter().try_for_each(run));
    if let Err(error) = built {
        panic!(
            "the kernels do not compile for the host (CXX names the compiler, {compiler} unless given):\n{error}"
        );
    }
    fs::write(stamp, how).expect("cargo's output folder can be written to");
    println!("cargo::rustc-env=GARRISON_EMULATOR={}", out.join("emulator.so").display());
    println!("cargo::rustc-env=GARRISON_EMULATOR_SANITIZED={}", out.join("emulator-sanitized.so").display());
}
