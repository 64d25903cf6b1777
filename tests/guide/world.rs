//! The folder in which the commands of a page are run, with all that they name.
//!
//! Invariant: addresses of a page are others here, the same for the whole page, so that nothing on the machine is in
//! the way, and names of hosts can be looked up; nothing else is changed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artifacts::SERVER;
use nix::sys::signal::Signal::SIGTERM;
use tempfile::TempDir;

use super::{Fence, root};
use crate::harness::{App, Host, curfew, free_port, tool, valid_manifest};

/// What is not run, by its first word, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("make", "it runs these tests"),
    ("cargo", "it builds curfew"),
    ("systemctl", "systemd does not run here"),
    ("kubectl", "`containers` runs it in a container"),
    ("docker", "`containers` runs it with podman"),
];

/// The commands that talk to an app that runs.
const ASK: &[&str] = &["curfew status", "curfew stop", "curfew reload", "curfew restart", "curl "];

/// What the files of a page are, by their names without `.wasm`; others are guests of the same name.
const GUESTS: &[(&str, &str)] = &[
    ("web", "hello-http"),
    ("app", "server"),
    ("a", "server"),
    ("b", "server-classic"),
    ("c", "server"),
    ("hello", "hello-http"),
    ("queue", "service-lab"),
    ("db", "server"),
    ("store", "server-classic"),
    ("cache", "hello-http-classic"),
];

/// The app of a page that has not shown a manifest yet.
const DEFAULT: &str = "[app]\ncontrol = \"curfew.sock\"\nadmin = \"127.0.0.1:9900\"\n\n\
                       [component.web]\nsource = \"hello.wasm\"\nlisten = [\"127.0.0.1:8080\"]\n";

pub struct World {
    dir: TempDir,
    page: String,
    ports: HashMap<String, u16>,
    /// What the last fence of commands has printed.
    output: String,
    app: Option<App>,
}

impl World {
    pub fn new(page: &str, text: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut world =
            World { dir, page: page.to_string(), ports: HashMap::new(), output: String::new(), app: None };
        fs::create_dir(world.path("bin")).unwrap();
        std::os::unix::fs::symlink(curfew(), world.path("bin/curfew")).unwrap();
        fs::create_dir(world.path("data")).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
        fs::write(world.path("cert.pem"), made.cert.pem()).unwrap();
        fs::write(world.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let other = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        for (at, _) in text.match_indices(".wasm") {
            world.provide(text[..at].rsplit(other).next().unwrap());
        }
        world.provide("hello");
        world.write("curfew.toml", DEFAULT);
        world.repository();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&mut self, name: &str, text: &str) {
        let text = self.mapped(text);
        fs::write(self.path(name), text).unwrap();
    }

    fn provide(&self, name: &str) {
        let guest = GUESTS.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, guest)| guest);
        let built = Path::new(SERVER).with_file_name(format!("{guest}.wasm"));
        if built.is_file() {
            fs::copy(built, self.path(&format!("{name}.wasm"))).unwrap();
        }
    }

    /// What the README does in the repository itself: the demo app.
    fn repository(&mut self) {
        fs::create_dir_all(self.path("target")).unwrap();
        fs::create_dir(self.path("guest-components")).unwrap();
        let guests = Path::new(SERVER).parent().unwrap();
        std::os::unix::fs::symlink(guests, self.path("target/guests")).unwrap();
        let demo = fs::read_to_string(root("guest-components/demo.toml")).unwrap();
        self.write("guest-components/demo.toml", &demo);
    }

    /// The text with this world's ports.
    fn mapped(&mut self, text: &str) -> String {
        let text = text.replace("db.example.com", "localhost");
        let mut rest = text.as_str();
        let mut mapped = String::new();
        while let Some((at, address)) = first_address(rest) {
            let end = rest[at + address.len()..].find(|c: char| !c.is_ascii_digit());
            let end = end.map_or(rest.len(), |end| at + address.len() + end);
            let port = &rest[at + address.len()..end];
            mapped.push_str(&rest[..at + address.len()]);
            match port {
                "" | "0" => mapped.push_str(port),
                port => {
                    let port = *self.ports.entry(port.to_string()).or_insert_with(free_port);
                    mapped.push_str(&port.to_string());
                }
            }
            rest = &rest[end..];
        }
        mapped + rest
    }

    /// A manifest of the page: `check` and an editor take it, and it is the app from now on.
    #[track_caller]
    pub fn check_manifest(&mut self, fence: &Fence) {
        self.write("curfew.toml", &fence.text);
        assert_eq!(valid_manifest(&fence.text), Ok(()), "{fence}");
        let manifest = self.path("curfew.toml");
        let output = Host::manifest("").call(&["check", manifest.to_str().unwrap()]);
        assert_eq!(output.code(), 0, "{fence}: {}", output.said());
        let warned =
            output.stdout_text().lines().any(|line| line.contains("warning ") && line.contains("grace"));
        assert!(!warned, "{fence}: a grace that cannot be had: {}", output.said());
    }

    /// Runs the commands one after the other. The app that they need is there, and stops well at the end.
    #[track_caller]
    pub fn run(&mut self, fence: &Fence) {
        let mut folder = self.dir.path().to_path_buf();
        self.output.clear();
        for line in fence.text.lines() {
            let line = self.mapped(line.split(" #").next().unwrap().trim());
            let first = line.split_whitespace().next().unwrap_or("#");
            if first.starts_with('#') || NOT_RUN.iter().any(|(word, _why)| *word == first) {
                continue;
            }
            if let Some(to) = line.strip_prefix("cd ") {
                folder.push(to);
                assert!(folder.is_dir(), "{fence}: {line}");
                continue;
            }
            if let Some(args) = line.strip_prefix("curfew run") {
                run_and_stop(fence, args, &folder);
                continue;
            }
            if line.contains("curl ") && tool("curl").is_none() {
                continue;
            }
            if self.app.is_none() && ASK.iter().any(|ask| line.contains(ask)) {
                self.app = Some(start_app(&line, &folder));
            }
            self.command(fence, &line, &folder);
        }
        if let Some(app) = self.app.take() {
            app.stop().expect_code(0);
        }
    }

    #[track_caller]
    fn command(&mut self, fence: &Fence, line: &str, folder: &Path) {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut bash = Command::new("bash");
        bash.args(["-euc", line]).current_dir(folder).stdin(Stdio::null());
        bash.env("PATH", path).env("HOME", self.dir.path()).env("CURFEW_CACHE_DIR", self.path(".cache"));
        let output = bash.output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{fence}: {line}\n{}\n{}", said[0], said[1]);
        self.output.push_str(&said[0]);
    }

    /// Each line of the fence was printed by the commands before it.
    #[track_caller]
    pub fn expect_output(&self, fence: &Fence) {
        for line in fence.text.lines() {
            let printed = self.output.lines().any(|printed| printed.trim_end() == line.trim_end());
            assert!(printed, "{fence} of {}: {line:?} was not printed, but\n{}", self.page, self.output);
        }
    }
}

/// Where the first address of the machine stands whose port follows.
fn first_address(text: &str) -> Option<(usize, &'static str)> {
    let found = ["127.0.0.1:", "0.0.0.0:", "[::1]:"].into_iter();
    found.filter_map(|address| Some((text.find(address)?, address))).min()
}

/// The words of a command, with whole paths where they name files, or folders for a guest.
fn words(args: &str, folder: &Path) -> Vec<String> {
    let whole = |word: &str| {
        let (host, guest) = word.split_at(word.find("::").unwrap_or(word.len()));
        let path = folder.join(host);
        match path.is_file() || !guest.is_empty() && path.is_dir() {
            true => format!("{}{guest}", path.display()),
            false => word.to_string(),
        }
    };
    args.split_whitespace().map(whole).collect()
}

/// The app that a command asks, from the manifest that it names.
fn start_app(line: &str, folder: &Path) -> App {
    let named = line.split_whitespace().find(|word| word.ends_with(".toml"));
    let manifest = folder.join(named.unwrap_or("curfew.toml"));
    run(&[manifest.to_str().unwrap().to_string()])
}

/// A run in the foreground ends by Ctrl-C, or by TERM.
#[track_caller]
fn run_and_stop(fence: &Fence, args: &str, folder: &Path) {
    let mut args = words(args, folder);
    if !args.iter().any(|word| word.ends_with(".wasm") || word.ends_with(".toml")) {
        args.push(folder.join("curfew.toml").to_str().unwrap().to_string());
    }
    let app = run(&args);
    app.signal(SIGTERM);
    let output = app.wait();
    assert_eq!(output.code(), 0, "{fence}: {args:?}: {}", output.said());
}

fn run(args: &[String]) -> App {
    let mut all = vec!["run", "--log-format", "json", "--log-level", "info"];
    all.extend(args.iter().map(String::as_str));
    let app = Host::manifest("").command(&all);
    app.wait_for_log("app started", "");
    app
}
