//! `garrison models`: what there is, what a file holds, and other files made from it.

mod inspect;
mod write;

use crate::error::Fault;
use crate::flags::ModelsCommand;
use crate::output::show;
use crate::source::{BUNDLED, ModelRef};
use crate::{hub, manifests};

/// Runs one of the `models` commands.
///
/// # Errors
/// As the command says.
pub(crate) fn run(command: &ModelsCommand) -> Result<(), Fault> {
    match command {
        ModelsCommand::List => list(),
        ModelsCommand::Pull { model } => pull(model),
        ModelsCommand::Inspect { model, json, tensors } => inspect::run(model, *json, *tensors),
        ModelsCommand::Quantize { input, output, ty, threads } => {
            write::quantize(input, output, ty, *threads)
        }
        ModelsCommand::Synth { preset, ty, output, seed, threads } => {
            write::synth(preset, ty, output, *seed, *threads)
        }
    }
}

fn list() -> Result<(), Fault> {
    let mut text = format!("{:<19} {:>9}  {:<8}  description\n", "name", "size", "here");
    for bundled in BUNDLED {
        text += &format!("{:<19} {:>9}  {:<8}  {}\n", bundled.name, "", "bundled", bundled.description);
    }
    for m in manifests::all() {
        let here = match ModelRef::parse(&m.source)? {
            ModelRef::Hub(hub) if hub::cached(&hub).is_some() => "yes",
            _ => "no",
        };
        text += &format!(
            "{:<19} {:>6} MB  {here:<8}  {} (licence {})\n",
            m.name, m.size_mb, m.description, m.license
        );
    }
    show(&(text + "\nAny other: garrison models pull hf:OWNER/REPO[:FILE]\n"))
}

fn pull(text: &str) -> Result<(), Fault> {
    match ModelRef::parse(text)? {
        ModelRef::Hub(model) => {
            let path = hub::pull(&model)?;
            show(&format!("{}\n", path.display()))
        }
        ModelRef::Bundled(bundled) => {
            Err(Fault::usage(format!("{} is inside the binary; there is nothing to pull", bundled.name)))
        }
        ModelRef::Path(path) => Err(Fault::usage(format!("{} is here already", path.display()))),
    }
}
