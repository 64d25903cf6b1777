//! The projects that can be copied, with all their files; a test compares the lists with the folders.
//!
//! The WIT packages in `wit/deps`, and files that are the same in several samples, are symbolic links in the folders.
//! `include_str!` reads through a link, so a project has files only.

use clap::ValueEnum;

/// The language of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, built by cargo
    Rust,
    /// JavaScript, built by npm and componentize-js
    #[value(alias = "javascript")]
    Js,
    /// Python, built by componentize-py
    #[value(alias = "py")]
    Python,
    /// C, built by make, clang and wit-bindgen
    C,
    /// Go, built by its own compiler
    Go,
}

/// The kind of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProjectKind {
    /// It runs by itself: a timer that is asked to stop
    Service,
    /// It answers HTTP requests
    Http,
}

impl ProjectKind {
    /// Returns the word that users read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Http => "http",
        }
    }
}

impl Language {
    /// Returns the word that users write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// Returns its name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
            Self::Go => "Go",
        }
    }
}

/// One project that can be copied.
#[derive(Debug)]
pub struct Template {
    /// The folder below `guest-components/`.
    pub folder: &'static str,
    /// Its language.
    pub language: Language,
    /// Its kind.
    pub kind: ProjectKind,
    /// It is for WASI 0.3.
    pub is_async: bool,
    /// The paths and contents of its files.
    pub files: &'static [(&'static str, &'static str)],
}

impl Template {
    /// Returns the name that stands in its files for that of the project.
    pub fn name(&self) -> &'static str {
        self.folder.split('/').next().unwrap_or(self.folder)
    }
}

/// A template with these files, and those that all of them have.
macro_rules! template {
    ($folder:literal, $language:ident, $kind:ident, is_async: $is_async:literal, $($file:literal)+) => {
        Template {
            folder: $folder,
            language: Language::$language,
            kind: ProjectKind::$kind,
            is_async: $is_async,
            files: files!($folder, ".github/workflows/ci.yml" ".gitignore" "README.md" "curfew.toml" $($file)+),
        }
    };
}

macro_rules! files {
    ($folder:literal, $($file:literal)+) => {
        &[$((
            $file,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-components/", $folder, "/", $file)),
        )),+]
    };
}

/// All projects.
pub const TEMPLATES: &[Template] = &[
    template! { "say-hello/rust", Rust, Http, is_async: false,
        "Cargo.lock" "Cargo.toml" "src/component.rs" "src/lib.rs"
    },
    template! { "say-hello/rust-async", Rust, Http, is_async: true,
        "Cargo.lock" "Cargo.toml" "src/component.rs" "src/lib.rs"
    },
    template! { "say-hello/js", Js, Http, is_async: false,
        "app.js" "greeter.js" "greeter.test.js" "package-lock.json" "package.json" "wit/deps/clocks.wit"
        "wit/deps/http.wit" "wit/deps/io.wit" "wit/world.wit"
    },
    template! { "say-hello/python", Python, Http, is_async: false,
        "app.py" "greeter.py" "requirements.txt" "test_greeter.py" "wit/deps/cli.wit" "wit/deps/clocks.wit"
        "wit/deps/filesystem.wit" "wit/deps/http.wit" "wit/deps/io.wit" "wit/deps/lifecycle.wit"
        "wit/deps/random.wit" "wit/deps/sockets.wit" "wit/world.wit"
    },
    template! { "say-hello/python-async", Python, Http, is_async: true,
        "app.py" "greeter.py" "requirements.txt" "test_greeter.py" "wit/deps/cli.wit" "wit/deps/clocks.wit"
        "wit/deps/filesystem.wit" "wit/deps/http.wit" "wit/deps/lifecycle.wit" "wit/deps/random.wit"
        "wit/deps/sockets.wit" "wit/world.wit"
    },
    template! { "say-hello/c", C, Http, is_async: false,
        "Makefile" "greeting.h" "greeting_test.c" "handler.c" "wit/app.wit" "wit/deps/cli.wit"
        "wit/deps/clocks.wit" "wit/deps/filesystem.wit" "wit/deps/http.wit" "wit/deps/io.wit"
        "wit/deps/random.wit" "wit/deps/sockets.wit"
    },
    template! { "say-hello/go", Go, Http, is_async: false,
        "Makefile" "go.mod" "greeting.go" "greeting_test.go" "handler_wasip1.go" "wasi_wasip1.go"
        "wit/app.wit" "wit/deps/cli.wit" "wit/deps/clocks.wit" "wit/deps/filesystem.wit" "wit/deps/http.wit"
        "wit/deps/io.wit" "wit/deps/random.wit" "wit/deps/sockets.wit"
    },
    template! { "tick-tock/rust", Rust, Service, is_async: false,
        "Cargo.lock" "Cargo.toml" "src/component.rs" "src/lib.rs" "wit/app.wit" "wit/deps/io.wit"
        "wit/deps/lifecycle.wit"
    },
    template! { "tick-tock/rust-async", Rust, Service, is_async: true,
        "Cargo.lock" "Cargo.toml" "src/component.rs" "src/lib.rs" "wit/app.wit" "wit/deps/lifecycle.wit"
    },
    template! { "tick-tock/js", Js, Service, is_async: false,
        "app.js" "clock.js" "clock.test.js" "package-lock.json" "package.json" "wit/deps/cli.wit"
        "wit/deps/clocks.wit" "wit/deps/filesystem.wit" "wit/deps/io.wit" "wit/deps/lifecycle.wit"
        "wit/deps/random.wit" "wit/deps/sockets.wit" "wit/world.wit"
    },
    template! { "tick-tock/python", Python, Service, is_async: false,
        "app.py" "clock.py" "requirements.txt" "test_clock.py" "wit/deps/cli.wit" "wit/deps/clocks.wit"
        "wit/deps/filesystem.wit" "wit/deps/io.wit" "wit/deps/lifecycle.wit" "wit/deps/random.wit"
        "wit/deps/sockets.wit" "wit/world.wit"
    },
    template! { "tick-tock/python-async", Python, Service, is_async: true,
        "app.py" "clock.py" "requirements.txt" "test_clock.py" "wit/deps/cli.wit" "wit/deps/clocks.wit"
        "wit/deps/filesystem.wit" "wit/deps/lifecycle.wit" "wit/deps/random.wit" "wit/deps/sockets.wit"
        "wit/world.wit"
    },
    template! { "tick-tock/c", C, Service, is_async: false,
        "Makefile" "beat.h" "beat_test.c" "service.c" "wit/app.wit" "wit/deps/clocks.wit" "wit/deps/io.wit"
        "wit/deps/lifecycle.wit"
    },
    template! { "tick-tock/go", Go, Service, is_async: false,
        "Makefile" "go.mod" "service_wasip1.go" "tick.go" "tick_test.go" "wasi_wasip1.go" "wit/app.wit"
        "wit/deps/clocks.wit" "wit/deps/io.wit" "wit/deps/lifecycle.wit"
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_template_has_all_files_of_its_sample() {
        for template in TEMPLATES {
            let folder =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-components").join(template.folder);
            let listed = Command::new("git")
                .args(["ls-files", "-co", "--exclude-standard"])
                .current_dir(&folder)
                .output()
                .unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            let mut there: Vec<&str> = listed.lines().collect();
            let mut here: Vec<&str> = template.files.iter().map(|(path, _)| *path).collect();
            there.sort_unstable();
            here.sort_unstable();
            assert_eq!(here, there, "{}", template.folder);
        }
    }
}
