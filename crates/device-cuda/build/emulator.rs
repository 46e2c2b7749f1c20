//! The kernels for the host, as two shared libraries: a fast one, and one with sanitizers.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::{run, run_all, sources};

/// Makes `emulator.so` and `emulator-sanitized.so` in `out`.
pub(crate) fn build(kernels: &Path, out: &Path) {
    println!("cargo::rerun-if-env-changed=CXX");
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut compiles = Vec::new();
    let mut links = Vec::new();
    for (name, flags) in [
        ("emulator", &["-O2"][..]),
        ("emulator-sanitized", &["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
    ] {
        let mut link = Command::new(&compiler);
        link.args(["-shared", "-o"]).arg(out.join(format!("{name}.so"))).args(flags);
        let host = ["emulator.cpp", "mistakes.cu"].map(|name| kernels.join("host").join(name));
        for source in sources(kernels).into_iter().chain(host) {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            let object = out.join(format!("{name}-{stem}.o"));
            let mut compile = Command::new(&compiler);
            // No multiplication is fused with an addition unless a kernel says so, as under nvcc.
            compile.args([
                "-std=c++17",
                "-fPIC",
                "-ffp-contract=off",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-x",
                "c++",
            ]);
            compile.args(flags).arg("-I").arg(kernels).arg("-c").arg(source).arg("-o").arg(&object);
            compiles.push(compile);
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
    println!("cargo::rustc-env=GARRISON_EMULATOR={}", out.join("emulator.so").display());
    println!("cargo::rustc-env=GARRISON_EMULATOR_SANITIZED={}", out.join("emulator-sanitized.so").display());
}
