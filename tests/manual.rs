//! What curfew says of itself: `curfew schema`, `completions` and `man`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Host, tool, valid_manifest};

fn printed(args: &[&str]) -> String {
    let output = Host::manifest("").call(args);
    assert_eq!((output.code(), output.stderr_text().as_str()), (0, ""), "{}", output.said());
    output.stdout_text()
}

/// The commands, as the help names them; `help` itself is none.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_string();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| *name != "help" && !name.is_empty()).map(str::to_string).collect()
}

#[test]
fn the_schema_is_that_of_the_keys() {
    let text = printed(&["schema"]);
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema, curfew_host::plan::json_schema());
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

/// What an editor is to say of the manifests in the repository: nothing.
#[test]
fn the_manifests_of_the_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-components");
    let mut found = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let generated = ["target", "node_modules", ".venv"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !generated {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            if path.extension().is_some_and(|extension| extension == "toml") && text.contains("[component.") {
                found += 1;
                assert_eq!(valid_manifest(&text), Ok(()), "{}", path.display());
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn bash_completes_commands_flags_and_words() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("curfew.bash");
    fs::write(&script, printed(&["completions", "bash"])).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    for (line, words) in [
        ("curfew ru", &["run"][..]),
        ("curfew re", &["reload", "restart"]),
        ("curfew run --drain", &["--drain-delay"]),
        ("curfew run --signals ng", &["nginx"]),
        ("curfew completions fi", &["fish"]),
    ] {
        let ask = format!(
            "source {script:?}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _curfew curfew \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let answer = Command::new("bash").args(["--norc", "-c", &ask]).stdin(Stdio::null()).output().unwrap();
        let answer = String::from_utf8(answer.stdout).unwrap();
        let mut completed: Vec<&str> = answer.split_whitespace().collect();
        completed.sort_unstable();
        assert_eq!(completed, words, "{line}");
    }
}

#[test]
fn every_shell_gets_all_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{command:?} is not in that of {shell}");
        }
    }
    let output = Host::manifest("").call(&["completions", "csh"]);
    assert_eq!(output.code(), 2);
    assert!(output.stderr_text().contains("[possible values: bash, elvish, fish, powershell, zsh]"));
}

#[test]
fn every_command_has_a_page_with_its_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("share/man1");
    let names = printed(&["man", "--out", folder.to_str().unwrap()]);
    let commands = commands();
    assert_eq!(names.lines().count(), commands.len() + 1, "{names}");
    assert_eq!(fs::read_to_string(folder.join("curfew.1")).unwrap(), printed(&["man"]));
    for command in &commands {
        let page = printed(&["man", command]);
        assert_eq!(fs::read_to_string(folder.join(format!("curfew-{command}.1"))).unwrap(), page);
        let codes = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap_or_else(|| panic!("{command}:\n{page}"));
        for code in ["0", "2"] {
            assert!(codes.contains(&format!(".TP\n\\fB{code}\\fR\n")), "{command} {code}:\n{page}");
        }
    }
    let Some(groff) = tool("groff") else { return };
    for name in names.lines() {
        let mut groff = Command::new(groff);
        let shown = groff.args(["-man", "-Tutf8", "-P-cbou", "-ww", name]).output().unwrap();
        let (text, warnings) =
            (String::from_utf8(shown.stdout).unwrap(), String::from_utf8(shown.stderr).unwrap());
        assert!(shown.status.success() && warnings.is_empty(), "{name}: {warnings}");
        assert!(text.contains("SYNOPSIS") && !text.contains("EXTRA"), "{text}");
    }
}

#[test]
fn the_page_of_run_has_every_exit_code_there_is() {
    let page = printed(&["man", "run"]);
    for (code, _) in curfew_host::teardown::ExitCode::MEANINGS {
        assert!(page.contains(&format!("\\fB{code}\\fR")), "{code}:\n{page}");
    }
    assert!(page.contains(".SH SIGNALS\nTERM and INT stop gracefully"), "{page}");
}

#[test]
fn a_page_that_is_not_there_or_cannot_be_written() {
    let output = Host::manifest("").call(&["man", "rnu"]);
    assert_eq!(output.code(), 2);
    assert_eq!(
        output.stderr_text(),
        "error: curfew has no command \"rnu\"\nhint: `curfew --help` lists them"
    );
    let output = Host::manifest("").file("man1", "").call(&["man", "--out", "man1"]);
    assert_eq!(output.code(), 69);
    assert!(output.stderr_text().starts_with("error: cannot write man1/curfew.1: "), "{}", output.said());
}
