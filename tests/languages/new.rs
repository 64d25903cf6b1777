//! `curfew new`: a project of each kind is written, built, tested and drilled by the commands of its own README.

use std::path::Path;

use artifacts::Project;
use curfew_cli::new::{TEMPLATES, Template};

use crate::harness::{Host, built, follow, free_port};

/// Writes a project as a user does, builds it, and runs its README's commands.
#[track_caller]
fn works_as_its_readme_says(folder: &str) {
    let template = TEMPLATES.iter().find(|template| template.folder == folder).unwrap();
    let name = format!("my-{}", folder.replace('/', "-"));
    let host = Host::manifest("");
    let parent = host.path().to_owned();
    let output = host.call(&arguments(template, &name));
    output.expect_code(0).expect_line(&format!("{name}/ is a component in {}", template.language.title()));
    let written = output.dir.path().join(&name);
    assert_eq!(parent, output.dir.path());
    let project = Project::at(&written, &name).unwrap();
    let Some(_file) = built(&project) else { return };
    let workshop = project.workshop();
    take_a_free_port(&written, &workshop);
    follow(&workshop, "Test");
    follow(&workshop, "Run");
    let said = follow(&workshop, "Drill");
    assert!(said.contains("ok") && !said.contains("FAIL"), "{said}");
    expect_one_screen(&workshop.join("README.md"));
}

/// The projects are all for one port, and several are run at a time here.
fn take_a_free_port(written: &Path, workshop: &Path) {
    let free = format!("127.0.0.1:{}", free_port());
    for file in ["curfew.toml", "README.md"] {
        let text = std::fs::read_to_string(written.join(file)).unwrap();
        std::fs::write(workshop.join(file), text.replace("127.0.0.1:8080", &free)).unwrap();
    }
}

fn arguments<'a>(template: &Template, name: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["new", name, "--lang", template.language.word(), "--kind", template.kind.word()];
    arguments.extend(template.is_async.then_some("--async"));
    arguments
}

#[track_caller]
fn expect_one_screen(readme: &Path) {
    let lines = std::fs::read_to_string(readme).unwrap().lines().count();
    assert!(lines <= 48, "{} has {lines} lines", readme.display());
}

macro_rules! projects {
    ($($test:ident: $folder:literal;)+) => {
        $(#[test]
        fn $test() {
            works_as_its_readme_says($folder);
        })+

        #[test]
        fn no_project_is_forgotten() {
            let mut tested = vec![$($folder),+];
            let mut all: Vec<_> = TEMPLATES.iter().map(|template| template.folder).collect();
            tested.sort_unstable();
            all.sort_unstable();
            assert_eq!(tested, all);
        }
    };
}

projects! {
    an_http_component_in_rust: "say-hello/rust";
    an_async_http_component_in_rust: "say-hello/rust-async";
    an_http_component_in_javascript: "say-hello/js";
    an_http_component_in_python: "say-hello/python";
    an_async_http_component_in_python: "say-hello/python-async";
    an_http_component_in_go: "say-hello/go";
    an_http_component_in_c: "say-hello/c";
    a_service_in_rust: "tick-tock/rust";
    an_async_service_in_rust: "tick-tock/rust-async";
    a_service_in_javascript: "tick-tock/js";
    a_service_in_python: "tick-tock/python";
    an_async_service_in_python: "tick-tock/python-async";
    a_service_in_c: "tick-tock/c";
    a_service_in_go: "tick-tock/go";
}

#[test]
fn what_cannot_be_written_is_told_and_nothing_is_left() {
    for (arguments, code, texts) in [
        (&["new", "Hello", "--lang", "c"][..], 2, &["a name has a-z, 0-9"][..]),
        (&["new", "hello", "--lang", "cobol"], 2, &["possible values: rust, js, python, c, go"]),
        (&["new", "hello"], 2, &["--lang <LANGUAGE>"]),
        (&["new", "hello", "--lang", "go", "--async"], 2, &["no async project in Go", "hint: "]),
        (&["new", "curfew-toml", "--lang", "c"], 0, &[]),
    ] {
        let output = Host::manifest("").call(arguments);
        output.expect_refused(code, texts);
        let left = std::fs::read_dir(output.dir.path()).unwrap().count();
        assert_eq!(left, if code == 0 { 2 } else { 1 }, "{arguments:?}");
    }
    let host = Host::manifest("").file("hello/mine", "mine");
    let output = host.call(&["new", "hello", "--lang", "rust"]);
    output.expect_refused(2, &["hello: there is something of that name already", "hint: take another name"]);
    assert_eq!(std::fs::read_to_string(output.dir.path().join("hello/mine")).unwrap(), "mine");
}
