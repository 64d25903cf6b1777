//! Builds every guest component, so that tests never run a stale one and none is ever committed.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "src/environment.rs"]
mod environment;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "guest";

/// The app that `make run` starts.
const DEMO: &str = "demo.toml";

/// The packages, each a component of the same name.
const PACKAGES: &[&str] = &[
    "server",
    "server-classic",
    "tcp-echo",
    "tcp-echo-classic",
    "timer",
    "stream-http",
    "subscriber",
    "bench-guest",
    "beat",
    "hostile-async",
    "hostile-classic",
    "no-hook",
    "hello-http",
    "hello-http-classic",
    "echo-handler",
    "events",
    "grpc-echo",
    "web",
    "http-lab",
    "http-lab-classic",
    "http-lab-plain",
    "service-lab",
    "tcp-lab",
];

/// Folders with guests that are written by hand as WebAssembly text, relative to `guest-components/`.
const TEXT_FOLDERS: &[&str] = &["hostile"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let components = here.parent().expect("artifacts is in guest-components").to_path_buf();
    let root = components.parent().expect("guest-components is in the workspace").to_path_buf();
    watch(&components, &root);

    let stable = stable_folder(&out);
    // Debug, release and clippy builds of the host share one build of the guests, which is the same for all.
    let built = stable.join("build");
    let packages = packages(&components);
    build_packages(&root, &built, &packages);
    let mut guests: Vec<(String, Vec<u8>)> = Vec::new();
    for package in packages {
        let file = built_file(&built, package);
        let bytes = fs::read(&file).unwrap_or_else(|error| fail(&format!("{}: {error}", file.display())));
        guests.push((package.to_string(), bytes));
    }
    for folder in TEXT_FOLDERS {
        guests.extend(encode_texts(&components.join(folder)));
    }
    let mut constants = String::new();
    for (name, bytes) in &guests {
        let file = out.join(format!("{name}.wasm"));
        replace(&file, bytes);
        replace(&stable.join(format!("{name}.wasm")), bytes);
        let constant = name.to_uppercase().replace('-', "_");
        let path = file.to_str().expect("the path of the workspace is UTF-8");
        writeln!(constants, "pub const {constant}: &str = {path:?};").expect("a string takes all");
    }
    // What `Project` needs to know of this build.
    for (name, folder) in [("COMPONENTS", &components), ("BUILT", &stable)] {
        let path = folder.to_str().expect("the path of the workspace is UTF-8");
        writeln!(constants, "const {name}: &str = {path:?};").expect("a string takes all");
    }
    fs::write(out.join("paths.rs"), constants).expect("OUT_DIR is writable");
}

/// A new file in the place of the old one, so that nobody ever reads half of it.
fn replace(file: &Path, bytes: &[u8]) {
    let staged = file.with_extension(format!("{}.tmp", std::process::id()));
    let done = fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, file));
    done.unwrap_or_else(|error| fail(&format!("{}: {error}", file.display())));
}

fn watch(components: &Path, root: &Path) {
    for path in [components.to_path_buf(), root.join("wit"), root.join("Cargo.lock"), root.join("Cargo.toml")]
    {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// The packages to build: without the feature `all` those of the demo, which is what a newcomer waits for.
fn packages(components: &Path) -> Vec<&'static str> {
    let demo =
        fs::read_to_string(components.join(DEMO)).unwrap_or_else(|error| fail(&format!("{DEMO}: {error}")));
    let wanted = |package: &&&str| cfg!(feature = "all") || demo.contains(&format!("/{package}.wasm\""));
    PACKAGES.iter().filter(wanted).copied().collect()
}

fn build_packages(root: &Path, built: &Path, packages: &[&str]) {
    if !target_is_installed() {
        fail(&format!("the target {TARGET} is missing; run: rustup target add {TARGET}"));
    }
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.current_dir(root).args(["build", "--quiet", "--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.arg("--target-dir").arg(built);
    for package in packages {
        cargo.args(["-p", package]);
    }
    environment::clean(&mut cargo);
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("building the guest components failed: {status}")),
        Err(error) => fail(&format!("cargo could not be started: {error}")),
    }
}

fn target_is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    asked.is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir())
}

/// A library has underscores in the name of its file, a program keeps its dashes.
fn built_file(built: &Path, package: &str) -> PathBuf {
    let folder = built.join(TARGET).join(PROFILE);
    let program = folder.join(format!("{package}.wasm"));
    if program.is_file() { program } else { folder.join(format!("{}.wasm", package.replace('-', "_"))) }
}

fn encode_texts(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut encoded = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is part of the source").flatten() {
        let text = entry.path();
        if text.extension().is_some_and(|extension| extension == "wat") {
            let name = text.file_stem().expect("it has an extension").to_string_lossy().into_owned();
            let bytes = wat::parse_file(&text).unwrap_or_else(|error| fail(&error.to_string()));
            encoded.push((name, bytes));
        }
    }
    encoded.sort();
    encoded
}

/// `target/guests`, where people find the files. `OUT_DIR` is `target/PROFILE/build/artifacts-HASH/out`.
fn stable_folder(out: &Path) -> PathBuf {
    let target = out.ancestors().nth(4).expect("OUT_DIR is four levels below the target folder");
    target.join("guests")
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
