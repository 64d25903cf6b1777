//! `curfew new`: a project for a component, in the language that was asked for.

use std::path::Path;

use crate::new::{create, find};
use crate::{args::NewArgs, error::CliError, print::print};
use curfew_host::output::{Channel, Output};
use curfew_host::teardown::ExitCode;

pub(crate) fn new(output: &Output, args: &NewArgs) -> Result<ExitCode, CliError> {
    let template = find(args.lang, args.kind, args.is_async)?;
    create(Path::new("."), &args.name, template)?;
    let (name, kind) = (&args.name.0, args.kind.word());
    let text = format!(
        "{name}/ is a component in {}, of kind {kind}; its README.md says how to build, test, run and drill it:\n  \
         cd {name}\n  cat README.md\n",
        template.language.title(),
    );
    print(output, Channel::Stdout, &text);
    Ok(ExitCode::CLEAN)
}
