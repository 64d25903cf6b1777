//! Containers, by podman with storage and settings of its own. No registry is reached, so the base image is made of this machine's
//! own files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::{Gid, Uid, chown};
use tempfile::TempDir;

use super::host::curfew;
use super::tool;

/// The user of the base image, as in distroless.
const NONROOT: u32 = 65532;

/// Podman, and the containers that are removed with it.
pub struct Podman {
    dir: TempDir,
}

impl Podman {
    /// A podman whose base image `base` has the libraries of curfew; `None` where it is missing, or may not run containers.
    pub fn with_base(base: &str) -> Option<Podman> {
        tool("podman")?;
        tool("runc")?;
        if !Uid::effective().is_root() {
            eprintln!("skipped: containers need root here");
            return None;
        }
        let podman = Podman { dir: tempfile::tempdir().unwrap() };
        podman.write_settings();
        podman.import(base);
        // The rights of this machine, not a fault of curfew.
        let trial = podman.output(&["run", "--rm", "--network", "host", base, LOADER, "--version"]);
        if !trial.status.success() {
            eprintln!("skipped: podman cannot run a container here: {}", text(&trial.stderr));
            return None;
        }
        Some(podman)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A folder with this podman as `docker`, to be put before `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.path().join("bin")
    }

    /// A folder to build an image in, with curfew.
    pub fn context(&self) -> PathBuf {
        let folder = self.path().join("context");
        fs::create_dir_all(&folder).unwrap();
        let binary = folder.join("curfew");
        // Each layer is a copy of the whole image here: without symbols a debug build is a third as large.
        let strip = Command::new("strip").arg("-o").arg(&binary).arg(curfew()).status();
        if !strip.is_ok_and(|status| status.success()) {
            fs::copy(curfew(), binary).unwrap();
        }
        folder
    }

    pub fn output(&self, args: &[&str]) -> Output {
        Command::new(self.bin().join("docker")).args(args).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it prints, without its warnings.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// What the container has written to both of its streams.
    pub fn logs(&self, container: &str) -> String {
        let output = self.output(&["logs", container]);
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Small limits, since a test may not raise its own; locks and state apart from those of other containers here.
    fn write_settings(&self) {
        let settings = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             lock_type = \"file\"\ntmp_dir = \"{}\"\n",
            self.path().join("tmp").display()
        );
        fs::write(self.path().join("containers.conf"), settings).unwrap();
        let root = self.path().display();
        let script = format!(
            "#!/bin/sh\nexport CONTAINERS_CONF={root}/containers.conf BUILDAH_FORMAT=docker BUILDAH_LAYERS=false\n\
             exec podman --root {root}/store --runroot {root}/run --storage-driver vfs \"$@\"\n"
        );
        fs::create_dir(self.bin()).unwrap();
        let docker = self.bin().join("docker");
        fs::write(&docker, script).unwrap();
        fs::set_permissions(docker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn import(&self, base: &str) {
        let root = self.path().join("base");
        let home = root.join("home/nonroot");
        for folder in [&home, &root.join("etc"), &root.join("tmp"), &root.join("usr/local/bin")] {
            fs::create_dir_all(folder).unwrap();
        }
        chown(&home, Some(Uid::from_raw(NONROOT)), Some(Gid::from_raw(NONROOT))).unwrap();
        let user = format!("nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n");
        fs::write(root.join("etc/passwd"), format!("root:x:0:0:root:/root:/sbin/nologin\n{user}")).unwrap();
        for library in libraries() {
            let to = root.join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&library, to).unwrap();
        }
        let archive = self.path().join("base.tar");
        let mut tar = Command::new("tar");
        let packed = tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        let user = format!("USER {NONROOT}");
        let archive = archive.to_str().unwrap();
        self.run(&["import", "-q", "--change", &user, "--change", "WORKDIR /home/nonroot", archive, base]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.output(&["rm", "--all", "--force", "--time", "0"]);
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The files that the binary is linked to, as the loader says.
fn libraries() -> Vec<PathBuf> {
    let linked = Command::new("ldd").arg(curfew()).output().unwrap();
    let linked = text(&linked.stdout);
    let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
    let found: Vec<PathBuf> = paths.map(PathBuf::from).collect();
    assert!(!found.is_empty(), "{linked}");
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
