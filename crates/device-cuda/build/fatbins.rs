//! The kernels for GPUs: one fat binary for each source, with code for each architecture. What was compiled stays until its
//! source or any header changes, or how it is compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{modified, newest, run_all, sources};

/// What is compiled for, the oldest first. The last also as PTX, which newer GPUs compile for themselves.
const ARCHITECTURES: [&str; 6] = ["80", "86", "89", "90a", "100", "120"];

/// No multiplication is fused with an addition unless a kernel says so, as on the host.
const FLAGS: [&str; 6] = ["-std=c++17", "-O3", "-fmad=false", "--Werror", "all-warnings", "-fatbin"];

/// Makes the fat binaries and `fatbins.rs`, which embeds them: a list of `(name, bytes)`, empty where there is
/// no nvcc.
pub(crate) fn build(kernels: &Path, out: &Path) {
    for name in ["CUDA_HOME", "PATH", "GARRISON_CACHE", "GARRISON_NVCC", "GARRISON_CUDA_ARCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let mut list = String::from("[\n");
    if let Some(nvcc) = nvcc() {
        let wanted = architectures();
        let how = format!("{} {FLAGS:?} {wanted:?}", nvcc.display());
        let stamp = out.join("fatbins.stamp");
        let (known, headers) = (fs::read_to_string(&stamp).is_ok_and(|known| known == how), newest(kernels));
        let mut commands = Vec::new();
        for source in sources(kernels) {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let fatbin = out.join(format!("{stem}.fatbin"));
            list +=
                &format!("    ({stem:?}, include_bytes!({:?}).as_slice()),\n", fatbin.display().to_string());
            if !known || modified(&fatbin) <= modified(&source).max(headers) {
                commands.push(compile(&nvcc, &wanted, kernels, &source, &fatbin));
            }
        }
        if let Err(error) = run_all(commands) {
            panic!(
                "the kernels do not compile with {}; GARRISON_NVCC=none builds without them:\n{error}",
                nvcc.display()
            );
        }
        fs::write(stamp, how).expect("cargo's output folder can be written to");
    }
    list += "]";
    fs::write(out.join("fatbins.rs"), list).expect("cargo's output folder can be written to");
}

fn compile(nvcc: &Path, wanted: &[String], kernels: &Path, source: &Path, fatbin: &Path) -> Command {
    let mut command = Command::new(nvcc);
    command.args(FLAGS).arg("-I").arg(kernels).arg(source).arg("-o").arg(fatbin);
    for architecture in wanted {
        command.arg(format!("-gencode=arch=compute_{architecture},code=sm_{architecture}"));
    }
    if let Some(newest) = wanted.last() {
        command.arg(format!("-gencode=arch=compute_{newest},code=compute_{newest}"));
    }
    command
}

/// All of them, or what `GARRISON_CUDA_ARCH` names, with commas between: a build for one machine is quicker and smaller.
fn architectures() -> Vec<String> {
    match env::var("GARRISON_CUDA_ARCH") {
        Ok(wanted) if !wanted.is_empty() => wanted.split(',').map(str::to_owned).collect(),
        _ => ARCHITECTURES.map(str::to_owned).to_vec(),
    }
}

/// The compiler: what `GARRISON_NVCC` names (`none` for none), `CUDA_HOME`'s, one on the path, or what
/// `scripts/setup-cuda` installed.
fn nvcc() -> Option<PathBuf> {
    match env::var("GARRISON_NVCC") {
        Ok(none) if none == "none" => return None,
        Ok(path) => return Some(path.into()),
        Err(_) => {}
    }
    let folder = |name: &str| env::var_os(name).map(PathBuf::from);
    let from_home = folder("CUDA_HOME").map(|home| home.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let cache = folder("GARRISON_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("garrison")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/garrison")));
    let installed = cache.map(|cache| cache.join("cuda-13.0/nvidia/cu13/bin"));
    from_home
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(installed)
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file())
}
