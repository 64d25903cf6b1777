//! The commands in a project's README, run as they stand there: what the README says is what is tested.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{BUILT, environment};

/// Commands of a README, and where they run.
#[derive(Debug)]
pub struct Script {
    /// The commands, a line each.
    pub text: String,
    /// The project's folder.
    pub folder: PathBuf,
    /// What comes before the folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// More variables of its environment.
    pub env: Vec<(&'static str, PathBuf)>,
}

impl Script {
    /// Runs it with `bash -e` and returns how it ended.
    ///
    /// # Errors
    /// When there is no bash.
    pub fn run(&self) -> std::io::Result<Output> {
        let mut bash = Command::new("bash");
        bash.args(["-e", "-u", "-o", "pipefail", "-c", &self.text]).current_dir(&self.folder);
        environment::clean(&mut bash);
        // Projects in Rust share what they are made of: it is compiled once.
        bash.env("CARGO_BUILD_BUILD_DIR", Path::new(BUILT).join("projects/rust"));
        bash.envs(self.env.iter().map(|(name, value)| (name, value)));
        bash.env("PATH", self.search_path()).stdin(Stdio::null()).output()
    }

    fn search_path(&self) -> OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = self.path.iter().cloned().chain(std::env::split_paths(&old));
        std::env::join_paths(all).unwrap_or(old)
    }
}

/// Returns the `sh` blocks below a heading of a Markdown file, as one text; empty if there are none.
///
/// # Errors
/// When the file cannot be read.
pub fn blocks(markdown: &Path, heading: &str) -> std::io::Result<String> {
    let text = std::fs::read_to_string(markdown)?;
    let mut found = String::new();
    let (mut below, mut inside) = (false, false);
    for line in text.lines() {
        match line.trim_end() {
            "```sh" if below => inside = true,
            "```" => inside = false,
            line if inside => {
                found.push_str(line);
                found.push('\n');
            }
            line if line.starts_with('#') => below = line.trim_start_matches('#').trim() == heading,
            _ => {}
        }
    }
    Ok(found)
}
