//! `curfew new`: a project for a component, in the language that was asked for.

use std::path::Path;

use crate::args::NewArgs;
use crate::error::CliError;
use crate::new::{create, find};
use crate::print::print;
use curfew_host::output::{Channel, Output};
use curfew_host::teardown::ExitCode;

/// Writes the project and says what to do next.
///
/// # Errors
/// When there is no such project, or it cannot be written.
pub(crate) fn new(output: &Output, args: &NewArgs) -> Result<ExitCode, CliError> {
    let template = find(args.lang, args.kind, args.is_async)?;
    create(Path::new("."), &args.name, template)?;
    let name = &args.name;
    let text = format!(
        "{name}/ is a component in {}, of kind {}; its README.md says how to build, test, run and drill it:\n  \
         cd {name}\n  cat README.md\n",
        template.language.title(),
        args.kind.word(),
    );
    print(output, Channel::Stdout, &text);
    Ok(ExitCode::CLEAN)
}
