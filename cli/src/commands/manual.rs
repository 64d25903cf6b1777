//! `curfew schema`, `completions` and `man`: the JSON Schema of a manifest, shell completions and pages of the manual.
//!
//! Invariant: all three are generated from the declarations of the keys and of the arguments with their help texts.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Cli;
use crate::error::CliError;
use crate::print::print;
use curfew_host::output::{Channel, Output};
use curfew_host::plan::json_schema;
use curfew_host::teardown::ExitCode;

pub(crate) fn schema(output: &Output) -> ExitCode {
    print(output, Channel::Stdout, &format!("{:#}\n", json_schema()));
    ExitCode::CLEAN
}

pub(crate) fn completions(output: &Output, shell: Shell) -> ExitCode {
    let (mut command, mut text) = (Cli::command(), Vec::new());
    clap_complete::generate(shell, &mut command, "curfew", &mut text);
    output.host(Channel::Stdout).push(text);
    ExitCode::CLEAN
}

/// Prints one page of the manual, or writes all of them.
pub(crate) fn man(
    output: &Output,
    command: Option<String>,
    folder: Option<&Path>,
) -> Result<ExitCode, CliError> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    if let Some(folder) = folder {
        for command in std::iter::once(&root).chain(root.get_subcommands().filter(|one| !one.is_hide_set())) {
            let path = folder.join(Man::new(command.clone()).get_filename());
            let page = std::fs::create_dir_all(folder).and_then(|()| page(command));
            let written = page.and_then(|page| std::fs::write(&path, page));
            written.map_err(|cause| CliError::Write { path: path.clone(), cause })?;
            print(output, Channel::Stdout, &format!("{}\n", path.display()));
        }
        return Ok(ExitCode::CLEAN);
    }
    let command = match command {
        None => &root,
        Some(name) => root.find_subcommand(&name).ok_or(CliError::NoCommand(name))?,
    };
    let page = page(command).map_err(|cause| CliError::Write { path: "-".into(), cause })?;
    output.host(Channel::Stdout).push(page);
    Ok(ExitCode::CLEAN)
}

/// Returns the page of a command. The first words of a paragraph of its help text say which section it becomes.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let bare = command.clone().after_help(None::<&str>).version(None::<&str>);
    let mut page = Vec::new();
    Man::new(bare).source(concat!("curfew ", env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    let mut roff = Roff::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        match paragraph.split_once(':') {
            Some(("Exit codes", codes)) => exit_status(&mut roff, codes),
            Some(("Examples" | "Example", lines)) => examples(&mut roff, lines),
            Some(("Signals", text)) => section(&mut roff, "SIGNALS", text),
            _ => section(&mut roff, "NOTES", paragraph),
        }
    }
    if command.has_subcommands() {
        roff.control("SH", ["EXIT STATUS"]);
        ExitCode::MEANINGS.iter().for_each(|(code, meaning)| item(&mut roff, code, meaning));
    } else {
        section(&mut roff, "SEE ALSO", "curfew(1)");
    }
    page.extend(roff.render().into_bytes());
    Ok(page)
}

fn section(roff: &mut Roff, heading: &str, text: &str) {
    roff.control("SH", [heading]);
    roff.text([roman(text.split_whitespace().collect::<Vec<_>>().join(" "))]);
}

/// Adds a list such as `0 done; 2 usage. And a sentence.`
fn exit_status(roff: &mut Roff, text: &str) {
    roff.control("SH", ["EXIT STATUS"]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (codes, more) = text.split_once(". ").unwrap_or((text.trim_end_matches('.'), ""));
    for entry in codes.split("; ") {
        let (code, meaning) = entry.split_once(' ').unwrap_or((entry, ""));
        item(roff, code, meaning);
    }
    if !more.is_empty() {
        roff.control("PP", []);
        roff.text([roman(more)]);
    }
}

fn item(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

fn examples(roff: &mut Roff, lines: &str) {
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in lines.lines().filter(|line| !line.is_empty()) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
