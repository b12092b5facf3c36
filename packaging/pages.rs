//! Writes shell completions and manual pages, from the command line and the configuration's keys:
//! `cargo run --example pages -- FOLDER`. No part of the daemon.

#[allow(dead_code, reason = "the tests write the two that no package brings")]
pub(crate) mod keys;

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

const NAME: &str = "edge-ger";
const SOURCE: &str = concat!("edge-ger ", env!("CARGO_PKG_VERSION"));
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let written = match arguments.as_slice() {
        [folder] => write(Path::new(folder)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "name the one folder to write to")),
    };
    match written {
        Ok(_) => ExitCode::SUCCESS,
        Err(err) => {
            edge_ger::inside::service::logging::print_error(&format!("pages: {err}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes completions for bash, zsh and fish, `edge-ger.1`, one page for each subcommand, and `edge-ger.toml.5`.
/// Returns their paths.
///
/// # Errors
/// When the folder cannot be made or written to.
pub(crate) fn write(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let command = edge_ger::cli::command().disable_help_subcommand(true);
    let mut written = Vec::new();
    for shell in SHELLS {
        written.push(clap_complete::generate_to(shell, &mut shown(&command), NAME, folder)?);
    }
    let mut built = command;
    built.build();
    manual(&built, folder, &mut written)?;
    written.push(file(folder, "edge-ger.toml.5", &keys::toml_5(SOURCE, NAME))?);
    Ok(written)
}

fn file(folder: &Path, name: impl AsRef<OsStr>, text: &str) -> io::Result<PathBuf> {
    let path = folder.join(name.as_ref());
    fs::write(&path, text)?;
    Ok(path)
}

/// The command without what is hidden, which `clap_complete` would offer.
fn shown(command: &Command) -> Command {
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args(command.get_arguments().filter(|shown| !shown.is_hide_set()))
        .groups(command.get_groups())
        .subcommands(command.get_subcommands().filter(|shown| !shown.is_hide_set()).map(shown))
}

/// A page of section 1 for the command and each of its subcommands.
fn manual(command: &Command, folder: &Path, written: &mut Vec<PathBuf>) -> io::Result<()> {
    let page = Man::new(command.clone()).source(SOURCE).manual(NAME);
    let mut text = Vec::new();
    page.render(&mut text)?;
    see_also().to_writer(&mut text)?;
    fs::write(folder.join(page.get_filename()), text)?;
    written.push(folder.join(page.get_filename()));
    command.get_subcommands().filter(|shown| !shown.is_hide_set()).try_for_each(|below| manual(below, folder, written))
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/edge-ger/*.toml", "The cameras, one file each."),
        ("/etc/default/edge-ger", "Variables of the service."),
        ("/usr/share/doc/edge-ger", "Installation, operation, every fault word, privacy; what the exit codes mean."),
    ] {
        roff.control("TP", []).text([italic(path)]).text([roman(what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold(NAME), roman("(1), "), bold("edge-ger.toml"), roman("(5), "), bold("systemctl"), roman("(1)")]);
    roff
}
