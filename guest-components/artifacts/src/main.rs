//! Builds the samples in all languages into `target/guests`, and says which it cannot build here.

use std::process::ExitCode;

use artifacts::Project;

fn main() -> std::io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for project in Project::samples()? {
        let name = project.name();
        if let Some(program) = project.missing() {
            eprintln!("{name}: not built: {program} is missing (make setup installs it)");
            code = ExitCode::FAILURE;
            continue;
        }
        match project.build() {
            Ok(file) => println!("{}", file.display()),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
