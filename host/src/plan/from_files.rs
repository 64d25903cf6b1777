//! A plan without a manifest: from the files named on the command line.
//!
//! Invariant: a bare file is granted what the command line names, and nothing else: no directory, no network, no
//! environment. What stands in a manifest is read in `manifest`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::error::PlanError;
use super::http::{HttpPlan, ListenAddress};
use super::names::{component_name_from, unique};
use super::origin::{Origin, OriginHost, OriginPort};
use super::types::{
    AccessLogFormat, AppPlan, ComponentPlan, DEFAULT_FAIL_GRACE, DEFAULT_GRACE, DEFAULT_MEMORY,
    DEFAULT_START_TIMEOUT, DirGrant, NetworkGrant, OnEnd, Plan, RestartPlan, SignalProfile,
};

/// Where the host listens for a single file that handles HTTP, where nothing else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What a bare file gets: nothing, unless the command line says so. Only a single file can get something.
#[derive(Clone, Debug, Default)]
pub struct Bare {
    /// Its arguments, without the name of the program.
    pub args: Vec<String>,
    /// The addresses the host listens on for it; a relative path of a socket starts at the working directory.
    pub listen: Vec<ListenAddress>,
    /// Its whole environment, in this order; names are unique.
    pub env: Vec<(String, String)>,
    /// The directories it sees; a relative path starts at the working directory.
    pub dirs: Vec<DirGrant>,
    /// Whether it has the whole network, HTTP servers included.
    pub allow_net: bool,
    /// The HTTP servers it may send requests to.
    pub outbound_http: Vec<Origin>,
}

impl Bare {
    /// Says that nothing of it was asked for.
    ///
    /// # Errors
    /// [`PlanError::Usage`] names the first thing that was, and what to do in a manifest.
    pub fn check_unused(&self) -> Result<(), PlanError> {
        const NETWORK: &str =
            "in a manifest every component has `network = { listen = [...], connect = [...] }` of its own";
        let (message, hint) = if !self.args.is_empty() {
            ("arguments after -- need a single file", "in a manifest every component has `args` of its own")
        } else if !self.listen.is_empty() {
            ("--listen needs a single file", "in a manifest every component has `listen` of its own")
        } else if !self.env.is_empty() {
            ("--env needs a single file", "in a manifest every component has `env` of its own")
        } else if !self.dirs.is_empty() {
            ("--dir needs a single file", "in a manifest every component has `dirs` of its own")
        } else if self.allow_net {
            ("--allow-net needs a single file", NETWORK)
        } else if !self.outbound_http.is_empty() {
            let hint = "in a manifest every component has `outbound-http` of its own";
            ("--allow-outbound-http needs a single file", hint)
        } else {
            return Ok(());
        };
        Err(usage(message, hint))
    }

    /// Returns the same, listening on `127.0.0.1:8080`: what a file that handles HTTP gets when nobody says where.
    #[must_use]
    pub fn on_default_address(&self) -> Self {
        Self { listen: vec![ListenAddress::Ip(DEFAULT_LISTEN)], ..self.clone() }
    }

    /// The directories as a plan has them.
    fn directories(&self) -> Result<Vec<DirGrant>, PlanError> {
        let mut seen = BTreeSet::new();
        for DirGrant { host, guest, .. } in &self.dirs {
            let cause = match std::fs::metadata(host) {
                Ok(found) if found.is_dir() => None,
                Ok(_) => Some(std::io::ErrorKind::NotADirectory.into()),
                Err(error) => Some(error),
            };
            if let Some(cause) = cause {
                let hint = Some("--dir HOST or --dir HOST::GUEST, with a folder that exists");
                return Err(PlanError::Unreadable { path: host.clone(), cause, hint });
            }
            if !seen.insert(guest.trim_end_matches('/')) {
                return Err(usage(
                    "two --dir have the same path in the guest",
                    "--dir HOST::GUEST names another",
                ));
            }
        }
        Ok(self.dirs.clone())
    }

    /// The HTTP servers as a plan has them.
    fn servers(&self) -> Vec<Origin> {
        let any = |https| Origin { https, host: OriginHost::Any, port: OriginPort::Any };
        let all = [any(false), any(true)].into_iter().filter(|_| self.allow_net);
        self.outbound_http.iter().cloned().chain(all).collect()
    }

    /// The addresses as a plan has them.
    fn addresses(&self) -> Result<Vec<ListenAddress>, PlanError> {
        let mut addresses: Vec<ListenAddress> = Vec::with_capacity(self.listen.len());
        for address in &self.listen {
            let address = address.resolved(Path::new(""));
            if address.is_too_long() {
                return Err(usage("the path of a --listen socket is too long", "the longest has 107 bytes"));
            }
            if addresses.iter().any(|other| other.overlaps(&address)) {
                let hint = "0.0.0.0 is every IPv4 address, [::] every IPv6 one";
                return Err(usage("two --listen addresses are the same, or one is part of the other", hint));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

impl Plan {
    /// Plans the components in `files`, named after them. A single one gets `bare`, the standard input, and its
    /// streams unprefixed.
    ///
    /// # Errors
    /// [`PlanError::Usage`] for no file at all, and for what `bare` cannot mean; [`PlanError::Unreadable`] for a
    /// file that is not there.
    pub fn from_files(files: &[PathBuf], bare: &Bare) -> Result<Self, PlanError> {
        if files.is_empty() {
            return Err(usage("there is no file to run", "curfew run a.wasm"));
        }
        let single = files.len() == 1;
        if !single {
            bare.check_unused()?;
        }
        if bare.args.iter().any(|arg| arg.contains('\0')) {
            return Err(PlanError::Usage { message: "there is a NUL in an argument", hint: None });
        }
        let addresses = bare.addresses()?;
        let mut taken = BTreeSet::new();
        let mut components = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            check_file(file, number)?;
            let name = unique(&stem(file), &taken);
            taken.insert(name.clone());
            components.push(component(name, file, &bare.args, &addresses));
        }
        let app_name = components.first().filter(|_| single).map_or("app", |only| &only.name).to_owned();
        let app = AppPlan {
            name: app_name,
            grace: DEFAULT_GRACE,
            fail_grace: DEFAULT_FAIL_GRACE,
            drain_delay: std::time::Duration::ZERO,
            signals: SignalProfile::default(),
            access_log: AccessLogFormat::default(),
            admin: None,
            control: None,
        };
        if let Some(only) = components.first_mut().filter(|_| single) {
            only.stdin = true;
            only.env = bare.env.clone();
            only.dirs = bare.directories()?;
            only.network.all = bare.allow_net;
            only.outbound_http = bare.servers();
        }
        Ok(Self { app, components, manifest: None, passthrough: single })
    }
}

const fn usage(message: &'static str, hint: &'static str) -> PlanError {
    PlanError::Usage { message, hint: Some(hint) }
}

fn stem(file: &Path) -> String {
    component_name_from(&file.file_stem().unwrap_or_default().to_string_lossy())
}

/// One that is not the first and has no such extension may have been meant for the program.
fn check_file(file: &Path, number: usize) -> Result<(), PlanError> {
    let is_named_so = file.extension().is_some_and(|extension| extension == "wasm");
    let hint = (number > 0 && !is_named_so)
        .then_some("arguments of a component come after `--`: curfew run a.wasm -- ARGS");
    let cause = match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => std::io::Error::from(std::io::ErrorKind::IsADirectory),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(PlanError::Unreadable { path: file.to_owned(), cause, hint })
}

fn component(name: String, source: &Path, args: &[String], addresses: &[ListenAddress]) -> ComponentPlan {
    ComponentPlan {
        name,
        source: source.to_owned(),
        grace: None,
        hook: None,
        on_exit: OnEnd::default(),
        on_failure: None,
        restart: RestartPlan::default(),
        after: Vec::new(),
        ready: None,
        health: None,
        overlap: false,
        start_timeout: DEFAULT_START_TIMEOUT,
        memory: DEFAULT_MEMORY,
        stdin: false,
        args: args.to_vec(),
        env: Default::default(),
        dirs: Vec::new(),
        network: NetworkGrant::default(),
        http: HttpPlan { listen: addresses.to_vec(), ..HttpPlan::default() },
        outbound_http: Vec::new(),
        config: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::parse_listen_address;
    use super::super::error::PlanErrorKind;
    use super::super::origin::parse_origin;
    use super::super::types::Access;
    use super::*;

    fn files(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
        for path in &paths {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        (dir, paths)
    }

    fn args(args: &[&str]) -> Bare {
        Bare { args: args.iter().map(|arg| arg.to_string()).collect(), ..Bare::default() }
    }

    fn listening(addresses: &[&str]) -> Bare {
        let listen = addresses.iter().map(|address| parse_listen_address(address).unwrap()).collect();
        Bare { listen, ..Bare::default() }
    }

    #[test]
    fn a_single_file_passes_through() {
        let (_dir, files) = files(&["My App.wasm"]);
        let plan = Plan::from_files(&files, &args(&["-v"])).unwrap();
        let [only] = plan.components.as_slice() else { panic!("one component") };
        assert!(plan.passthrough && only.stdin && plan.manifest.is_none());
        assert_eq!((plan.app.name.as_str(), only.name.as_str()), ("my-app", "my-app"));
        assert_eq!((only.args.as_slice(), &only.source), (["-v".to_owned()].as_slice(), &files[0]));
        assert!(only.env.is_empty() && only.dirs.is_empty() && only.network == NetworkGrant::default());
        assert_eq!((only.grace, only.memory), (None, DEFAULT_MEMORY));
    }

    #[test]
    fn several_files_have_unique_names() {
        let (_dir, files) = files(&["a/web.wasm", "b/web.wasm", "Web.cwasm", "q.wasm"]);
        let plan = Plan::from_files(&files, &Bare::default()).unwrap();
        let names: Vec<&str> = plan.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["web", "web-2", "web-3", "q"]);
        assert_eq!(plan.app.name, "app");
        assert!(!plan.passthrough && plan.components.iter().all(|component| !component.stdin));
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        let (dir, files) = files(&["a.wasm", "b.wasm"]);
        let error = Plan::from_files(&files, &args(&["x"])).unwrap_err();
        assert_eq!(error.kind(), PlanErrorKind::Usage);
        let expected = "arguments after -- need a single file\n\
                        hint: in a manifest every component has `args` of its own";
        assert_eq!(error.to_string(), expected);
        assert_eq!(Plan::from_files(&[], &Bare::default()).unwrap_err().kind(), PlanErrorKind::Usage);
        let missing = Plan::from_files(&[PathBuf::from("none.wasm")], &Bare::default()).unwrap_err();
        assert_eq!(missing.kind(), PlanErrorKind::Unreadable);
        assert_eq!(missing.to_string(), "cannot read none.wasm: No such file or directory (os error 2)");
        let folder = Plan::from_files(&[dir.path().to_owned()], &Bare::default()).unwrap_err();
        assert_eq!(folder.to_string(), format!("cannot read {}: is a directory", dir.path().display()));
    }

    #[test]
    fn a_single_file_can_be_a_server() {
        let (_dir, files) = files(&["a.wasm"]);
        let origin = parse_origin("https://a.b").unwrap();
        let bare = Bare {
            outbound_http: vec![origin.clone()],
            ..listening(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:80", "unix:web.sock"])
        };
        let plan = Plan::from_files(&files, &bare).unwrap();
        let [only] = plan.components.as_slice() else { panic!("one component") };
        let socket = ListenAddress::Unix(std::env::current_dir().unwrap().join("web.sock"));
        assert_eq!((only.http.listen.len(), &only.http.listen[3]), (4, &socket));
        assert_eq!(only.http, HttpPlan { listen: only.http.listen.clone(), ..HttpPlan::default() });
        assert_eq!((only.outbound_http.as_slice(), only.on_failure), ([origin].as_slice(), None));
        let plan = Plan::from_files(&files, &Bare::default()).unwrap();
        assert_eq!(plan.components[0].http, HttpPlan::default());
    }

    #[test]
    fn a_single_file_has_what_is_named() {
        let (dir, files) = files(&["a.wasm"]);
        let folder = |guest: &str| DirGrant {
            host: dir.path().to_owned(),
            guest: guest.to_owned(),
            access: Access::ReadWrite,
        };
        let env = vec![("A".to_owned(), "b".to_owned())];
        let bare = Bare { env: env.clone(), dirs: vec![folder("/d")], allow_net: true, ..Bare::default() };
        let plan = Plan::from_files(&files, &bare).unwrap();
        let [only] = plan.components.as_slice() else { panic!("one component") };
        assert_eq!((&only.env, only.dirs.as_slice(), only.network.all), (&env, &[folder("/d")][..], true));
        let servers: Vec<String> = only.outbound_http.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["http://*:*", "https://*:*"]);
        let twice = Bare { dirs: vec![folder("/d"), folder("/d/")], ..Bare::default() };
        assert_eq!(Plan::from_files(&files, &twice).unwrap_err().kind(), PlanErrorKind::Usage);
        let no_folder = DirGrant { host: files[0].clone(), ..folder("/d") };
        let error = Plan::from_files(&files, &Bare { dirs: vec![no_folder], ..Bare::default() }).unwrap_err();
        assert!(error.to_string().contains("not a directory"), "{error}");
        let served = Plan::from_files(&files, &Bare::default().on_default_address()).unwrap();
        assert_eq!(served.components[0].http.listen[0].to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn what_a_server_cannot_be_is_refused() {
        let (_dir, files) = files(&["a.wasm", "b.wasm"]);
        let told = |files: &[PathBuf], bare: &Bare| match Plan::from_files(files, bare).unwrap_err() {
            error if error.kind() == PlanErrorKind::Usage => error.to_string(),
            error => panic!("{error}"),
        };
        assert_eq!(
            told(&files, &listening(&["127.0.0.1:80"])),
            "--listen needs a single file\nhint: in a manifest every component has `listen` of its own"
        );
        let bare = Bare { outbound_http: vec![parse_origin("https://a.b").unwrap()], ..Bare::default() };
        assert_eq!(
            told(&files, &bare),
            "--allow-outbound-http needs a single file\n\
             hint: in a manifest every component has `outbound-http` of its own"
        );
        for pair in [["127.0.0.1:80", "0.0.0.0:80"], ["unix:a", "unix:./a"]] {
            assert_eq!(
                told(&files[..1], &listening(&pair)),
                "two --listen addresses are the same, or one is part of the other\n\
                 hint: 0.0.0.0 is every IPv4 address, [::] every IPv6 one"
            );
        }
        let long = format!("unix:/{}", "x".repeat(106));
        assert!(Plan::from_files(&files[..1], &listening(&[&long])).is_ok());
        assert_eq!(
            told(&files[..1], &listening(&[&format!("{long}x")])),
            "the path of a --listen socket is too long\nhint: the longest has 107 bytes"
        );
    }
}
