//! The command line's part of a plan: a plan of bare files, which get only what the command line grants, and changes of values
//! in any plan.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{
    AppPlan, ComponentPlan, DirGrant, HttpPlan, ListenAddress, Origin, OriginHost, OriginPort, Plan,
    PlanError, SignalProfile, absolute, component_name_from, unique,
};

/// The default address for a single file that handles HTTP.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Grants of the command line to a bare file. Only a single file can get some.
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
    /// True if it has the whole network, HTTP servers included.
    pub allow_net: bool,
    /// The HTTP servers that it may send requests to.
    pub outbound_http: Vec<Origin>,
}

/// Values that the command line changes; `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The app's grace.
    pub grace: Option<Duration>,
    /// The app's grace after a failure.
    pub fail_grace: Option<Duration>,
    /// The delay before a stop by TERM.
    pub drain_delay: Option<Duration>,
    /// The table of signals.
    pub signals: Option<SignalProfile>,
    /// The control socket; a relative path starts at the working directory.
    pub control: Option<PathBuf>,
}

impl Bare {
    /// Checks that the command line grants nothing.
    ///
    /// # Errors
    /// [`PlanError::Usage`] names the first grant, and the key for it in a manifest.
    pub fn check_unused(&self) -> Result<(), PlanError> {
        let grants = [
            ("arguments after -- need", "args", self.args.is_empty()),
            ("--listen needs", "listen", self.listen.is_empty()),
            ("--env needs", "env", self.env.is_empty()),
            ("--dir needs", "dirs", self.dirs.is_empty()),
            ("--allow-net needs", "network = { listen = [...], connect = [...] }", !self.allow_net),
            ("--allow-outbound-http needs", "outbound-http", self.outbound_http.is_empty()),
        ];
        let Some((needs, key, _)) = grants.into_iter().find(|(.., is_unused)| !is_unused) else {
            return Ok(());
        };
        let hint = format!("in a manifest every component has `{key}` of its own");
        Err(usage(format!("{needs} a single file"), hint))
    }

    /// Returns the same with the default address, `127.0.0.1:8080`.
    pub fn on_default_address(&self) -> Self {
        Self { listen: vec![ListenAddress::Ip(DEFAULT_LISTEN)], ..self.clone() }
    }

    fn directories(&self) -> Result<Vec<DirGrant>, PlanError> {
        let mut seen = BTreeSet::new();
        for DirGrant { host, guest, .. } in &self.dirs {
            let hint = "--dir HOST or --dir HOST::GUEST, with a folder that exists";
            check_on_disk(host, true, Some(hint))?;
            if !seen.insert(guest.trim_end_matches('/')) {
                let hint = "--dir HOST::GUEST names another";
                return Err(usage("two --dir have the same path in the guest", hint));
            }
        }
        Ok(self.dirs.clone())
    }

    fn addresses(&self) -> Result<Vec<ListenAddress>, PlanError> {
        let mut addresses: Vec<ListenAddress> = Vec::new();
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
    /// Plans the components in `files`, named after them. A single one gets `bare`, the standard input, and its streams unprefixed.
    ///
    /// # Errors
    /// [`PlanError::Usage`] for no file at all, and for what `bare` cannot mean; [`PlanError::Unreadable`] for a missing file.
    pub fn from_files(files: &[PathBuf], bare: &Bare) -> Result<Self, PlanError> {
        if files.is_empty() {
            return Err(usage("there is no file to run", "curfew run a.wasm"));
        }
        let single = files.len() == 1;
        if !single {
            bare.check_unused()?;
        }
        if bare.args.iter().any(|arg| arg.contains('\0')) {
            return Err(PlanError::Usage { message: "there is a NUL in an argument".to_owned(), hint: None });
        }
        let addresses = bare.addresses()?;
        let mut taken = BTreeSet::new();
        let mut components = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            let is_named_so = file.extension().is_some_and(|extension| extension == "wasm");
            let hint = (number > 0 && !is_named_so)
                .then_some("arguments of a component come after `--`: curfew run a.wasm -- ARGS");
            check_on_disk(file, false, hint)?;
            let stem = component_name_from(&file.file_stem().unwrap_or_default().to_string_lossy());
            let name = unique(&stem, &taken);
            taken.insert(name.clone());
            components.push(ComponentPlan {
                name,
                source: file.clone(),
                args: bare.args.clone(),
                http: HttpPlan { listen: addresses.clone(), ..HttpPlan::default() },
                ..ComponentPlan::default()
            });
        }
        let mut app = AppPlan { name: "app".to_owned(), ..AppPlan::default() };
        if let [only] = components.as_mut_slice() {
            app.name.clone_from(&only.name);
            only.stdin = true;
            only.env = bare.env.clone();
            only.dirs = bare.directories()?;
            only.network.all = bare.allow_net;
            let any = |https| Origin { https, host: OriginHost::Any, port: OriginPort::Any };
            let all = [any(false), any(true)].into_iter().filter(|_| bare.allow_net);
            only.outbound_http = bare.outbound_http.iter().cloned().chain(all).collect();
        }
        let mut plan = Self { app, components, manifest: None, places: Arc::default(), passthrough: single };
        plan.keep_budgets_possible();
        Ok(plan)
    }

    /// Returns the name of the peer of the drill beside these components.
    pub fn peer_name(&self) -> String {
        unique("drill-peer", &self.components.iter().map(|component| component.name.clone()).collect())
    }

    /// Adds the component in `source`, which starts when all others are ready.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] for a file that is not there.
    pub fn add_peer(&mut self, source: PathBuf) -> Result<(), PlanError> {
        let name = self.peer_name();
        let after: BTreeSet<_> = self.components.iter().map(|component| component.name.clone()).collect();
        for peer in Self::from_files(&[source], &Bare::default())?.components {
            let (name, after) = (name.clone(), after.iter().cloned().collect());
            self.components.push(ComponentPlan { name, after, stdin: false, ..peer });
        }
        // The output of two components needs their names.
        self.passthrough = false;
        Ok(())
    }

    /// Applies `overrides`. With a longer `fail_grace`, a budget of restarts may need a longer period to be spent in; it gets one.
    pub fn apply(&mut self, overrides: Overrides) {
        let Overrides { grace, fail_grace, drain_delay, signals, control } = overrides;
        self.app.grace = grace.unwrap_or(self.app.grace);
        self.app.fail_grace = fail_grace.unwrap_or(self.app.fail_grace);
        self.app.drain_delay = drain_delay.unwrap_or(self.app.drain_delay);
        self.app.signals = signals.unwrap_or(self.app.signals);
        self.app.control = control.map(absolute).or(self.app.control.take());
        self.keep_budgets_possible();
    }
}

fn usage(message: impl Into<String>, hint: impl Into<String>) -> PlanError {
    PlanError::Usage { message: message.into(), hint: Some(hint.into()) }
}

fn check_on_disk(path: &Path, is_directory: bool, hint: Option<&'static str>) -> Result<(), PlanError> {
    let cause = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() == is_directory => return Ok(()),
        Ok(_) if is_directory => std::io::ErrorKind::NotADirectory.into(),
        Ok(_) => std::io::ErrorKind::IsADirectory.into(),
        Err(error) => error,
    };
    Err(PlanError::Unreadable { path: path.to_owned(), cause, hint })
}

#[cfg(test)]
mod tests {
    use super::super::address::parse_listen_address;
    use super::super::keys::{Access, NetworkGrant};
    use super::super::origin::parse_origin;
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
        assert_eq!((only.grace, only.memory), (None, 256 << 20));
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
        assert!(matches!(error, PlanError::Usage { .. }));
        let expected = "arguments after -- need a single file\n\
                        hint: in a manifest every component has `args` of its own";
        assert_eq!(error.to_string(), expected);
        assert!(matches!(Plan::from_files(&[], &Bare::default()), Err(PlanError::Usage { .. })));
        let missing = Plan::from_files(&[PathBuf::from("none.wasm")], &Bare::default()).unwrap_err();
        assert!(matches!(missing, PlanError::Unreadable { .. }));
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
        assert!(matches!(Plan::from_files(&files, &twice), Err(PlanError::Usage { .. })));
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
            error @ PlanError::Usage { .. } => error.to_string(),
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

    #[test]
    fn a_peer_comes_after_everybody_and_takes_nobodys_name() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["drill-peer.wasm", "b.wasm", "c.wasm"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "").unwrap());
        let mut plan = Plan::from_files(&files[..2], &Bare::default()).unwrap();
        let before = plan.components.clone();
        assert_eq!(plan.peer_name(), "drill-peer-2");
        plan.add_peer(files[2].clone()).unwrap();
        assert_eq!(plan.components[..2], before);
        let peer = &plan.components[2];
        assert_eq!(
            (peer.name.as_str(), &peer.after),
            ("drill-peer-2", &vec!["b".into(), "drill-peer".into()])
        );
        let mut plan = Plan::from_files(&files[1..2], &Bare::default()).unwrap();
        plan.add_peer(files[2].clone()).unwrap();
        let readers = plan.components.iter().map(|component| component.stdin).collect::<Vec<_>>();
        assert_eq!((plan.passthrough, readers), (false, vec![true, false]));
    }

    #[test]
    fn each_override_changes_its_own_value_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut plan = Plan::from_files(&[file.path().to_owned()], &Bare::default()).unwrap();
        let before = plan.app.clone();
        plan.apply(Overrides { signals: Some(SignalProfile::Nginx), ..Overrides::default() });
        assert_eq!((plan.app.grace, plan.app.signals), (before.grace, SignalProfile::Nginx));
        assert_eq!(plan.app.control, None);
        plan.apply(Overrides { control: Some("a.sock".into()), ..Overrides::default() });
        assert_eq!(plan.app.control, Some(std::env::current_dir().unwrap().join("a.sock")));
        plan.apply(Overrides {
            grace: Some(Duration::from_secs(3)),
            fail_grace: Some(Duration::from_secs(1)),
            drain_delay: Some(Duration::from_secs(2)),
            ..Overrides::default()
        });
        assert_eq!(plan.app.fail_grace, Duration::from_secs(1));
        assert_eq!(plan.app.drain_delay, Duration::from_secs(2));
        assert_eq!((plan.app.grace, plan.app.signals), (Duration::from_secs(3), SignalProfile::Nginx));
    }
}
