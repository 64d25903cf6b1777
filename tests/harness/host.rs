//! The builder of a host process: its manifest or files, its flags, its surroundings.
//!
//! Each host has a temporary folder of its own as working directory and leads a process group, so that
//! whatever it leaves behind is found and ended.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};
use tempfile::TempDir;

use super::{App, Output, valid_manifest};

/// The host under test. `CURFEW_TEST_BINARY` runs the same tests against another build of it.
pub fn curfew() -> PathBuf {
    std::env::var_os("CURFEW_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_curfew").into(), PathBuf::from)
}

/// One compile cache for the whole run: guests are compiled once, and starts are fast.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("curfew-cache")
}

/// A host that has not been started.
#[must_use = "a host does nothing until it is started"]
pub struct Host {
    pub(super) dir: TempDir,
    pub(super) command: Command,
    pub(super) report: PathBuf,
    flags: Vec<String>,
    what: Vec<String>,
    guest_args: Vec<String>,
    json: bool,
    piped: [bool; 2],
}

impl Host {
    /// A host that runs this manifest.
    pub fn manifest(text: &str) -> Host {
        Host::of(&curfew(), text)
    }

    /// The same of another binary.
    pub fn of(binary: &Path, text: &str) -> Host {
        let host = Host::new(binary);
        fs::write(host.dir.path().join("curfew.toml"), text).unwrap();
        host
    }

    /// A host that runs these files, without a manifest.
    pub fn files<P: AsRef<Path>>(files: &[P]) -> Host {
        let mut host = Host::new(&curfew());
        host.what = files.iter().map(|file| file.as_ref().to_str().unwrap().to_string()).collect();
        host
    }

    fn new(binary: &Path) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary);
        command.current_dir(dir.path()).process_group(0);
        command.env("CURFEW_CACHE_DIR", cache());
        command.env_remove("RUST_BACKTRACE").env_remove("RUST_LOG").env_remove("CURFEW_FAIL_POINT");
        command.stdin(Stdio::null());
        let report = dir.path().join("report.json");
        Host {
            dir,
            command,
            report,
            flags: Vec::new(),
            what: Vec::new(),
            guest_args: Vec::new(),
            json: true,
            piped: [true, true],
        }
    }

    pub fn flags(mut self, flags: &[&str]) -> Host {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_string()));
        self
    }

    /// Arguments after `--`.
    pub fn guest_args(mut self, args: &[&str]) -> Host {
        self.guest_args.extend(args.iter().map(|arg| (*arg).to_string()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Host {
        self.command.env(name, value);
        self
    }

    /// An empty compile cache of its own, as after the installation.
    pub fn empty_cache(self) -> Host {
        let cache = self.dir.path().join("cache");
        self.env("CURFEW_CACHE_DIR", cache)
    }

    /// Logs as people see them.
    pub fn text_logs(mut self) -> Host {
        self.json = false;
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Host {
        self.command.stdin(stdin);
        self
    }

    /// Standard output goes there and is not captured.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Host {
        self.command.stdout(stdout);
        self.piped[0] = false;
        self
    }

    /// Standard error goes there and is not captured.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Host {
        self.command.stderr(stderr);
        self.piped[1] = false;
        self
    }

    /// Writes a file into the folder of the manifest.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Host {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// The working directory, where the manifest is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the command under another program, for instance `unshare`.
    pub fn under(mut self, program: &str, args: &[&str]) -> Host {
        let mut outer = Command::new(program);
        outer.args(args).arg(self.command.get_program()).current_dir(self.dir.path()).process_group(0);
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer.stdin(Stdio::null());
        self.command = outer;
        self
    }

    /// Leaves the process in the group of the test: what `setsid` needs.
    pub(super) fn without_group(mut self) -> Host {
        self.command.process_group(nix::unistd::getpgrp().as_raw());
        self
    }

    /// Starts `curfew run`.
    #[track_caller]
    pub fn start(mut self) -> App {
        self.command.arg("run");
        if self.json {
            self.command.args(["--log-format", "json"]);
        }
        self.command.arg("--report").arg(&self.report).args(&self.flags).args(&self.what);
        if !self.guest_args.is_empty() {
            self.command.arg("--").args(&self.guest_args);
        }
        self.spawn()
    }

    /// Starts it and waits until every `run` has been entered.
    #[track_caller]
    pub fn start_ready(self) -> App {
        let app = self.start();
        app.wait_for_log("app started", "");
        // What runs is never marked as wrong by an editor.
        if let Ok(text) = fs::read_to_string(app.path().join("curfew.toml")) {
            assert_eq!(valid_manifest(&text), Ok(()), "{text}");
        }
        app
    }

    /// Starts `curfew run` and waits for its end, which must come without a signal.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts another command of curfew with exactly these arguments and waits for its end.
    #[track_caller]
    pub fn call(self, args: &[&str]) -> Output {
        self.command(args).wait()
    }

    /// Starts another command of curfew with exactly these arguments.
    #[track_caller]
    pub fn command(mut self, args: &[&str]) -> App {
        self.command.args(args);
        self.spawn()
    }

    fn spawn(mut self) -> App {
        if self.piped[0] {
            self.command.stdout(Stdio::piped());
        }
        if self.piped[1] {
            self.command.stderr(Stdio::piped());
        }
        if hup_is_ignored() {
            hear_hup(&mut self.command);
        }
        App::spawn(self)
    }
}

/// True under `nohup` and in some CI systems. A host would inherit that, and ignore HUP as well.
fn hup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << (Signal::SIGHUP as i32 - 1)) != 0
}

#[expect(unsafe_code, reason = "std leaves the signals of a child as they are")]
fn hear_hup(command: &mut Command) {
    // SAFETY: between fork and exec it only calls `signal`, which is safe there, and sets no handler.
    unsafe {
        command.pre_exec(|| signal(Signal::SIGHUP, SigHandler::SigDfl).map(|_| ()).map_err(Into::into))
    };
}
