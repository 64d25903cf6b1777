//! Grants of a single `.wasm` file on the command line, in the syntax of `wasmtime run`. In a manifest they are keys.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::args::{listen_address, origin};
use curfew_host::plan::{Access, Bare, DirGrant, ListenAddress, Origin};

/// Grants of a single `.wasm` file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SingleFileArgs {
    /// Listen on this address, IP:PORT, unix:PATH or fd:NAME (a socket from systemd), for a single .wasm file that
    /// handles HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) listen: Vec<ListenAddress>,
    /// Set an environment variable of a single .wasm file; without a value, the value that curfew itself has, if any
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) env: Vec<Variable>,
    /// Let a single .wasm file read and write this folder, under the path GUEST [default: the same path]
    #[arg(long, value_name = "HOST[::GUEST]", value_parser = dir)]
    pub(crate) dir: Vec<DirGrant>,
    /// Let a single .wasm file use the whole network: listen, connect, look up names, send HTTP requests
    #[arg(long)]
    pub(crate) allow_net: bool,
    /// Let a single .wasm file send requests to this server, such as https://api.example.com
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_outbound_http: Vec<Origin>,
}

/// An environment variable on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    /// `None` if this process does not have it either.
    value: Option<String>,
}

impl SingleFileArgs {
    /// Returns the grants for a plan, with the arguments of the component.
    pub(crate) fn into_bare(self, args: Vec<String>) -> Bare {
        let mut env: Vec<(String, String)> = Vec::with_capacity(self.env.len());
        for Variable { name, value } in self.env {
            // The last value wins, as in a shell.
            env.retain(|(other, _)| *other != name);
            env.extend(value.map(|value| (name, value)));
        }
        Bare {
            args,
            listen: self.listen,
            env,
            dirs: self.dir,
            allow_net: self.allow_net,
            outbound_http: self.allow_outbound_http,
        }
    }

    /// Returns these arguments for `curfew run`.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let listen = self.listen.iter().map(|address| format!("--listen={address}").into());
        let env = self.env.iter().filter_map(|variable| {
            let Variable { name, value } = variable;
            Some(format!("--env={name}={}", value.as_ref()?).into())
        });
        let dirs = self.dir.iter().map(|dir| {
            let mut arg = OsString::from("--dir=");
            arg.push(&dir.host);
            arg.push(format!("::{}", dir.guest));
            arg
        });
        let net = self.allow_net.then(|| "--allow-net".into());
        let origins =
            self.allow_outbound_http.iter().map(|origin| format!("--allow-outbound-http={origin}").into());
        listen.chain(env).chain(dirs).chain(net).chain(origins).collect()
    }
}

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, inherited(text)?),
    };
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok(Variable { name: name.to_owned(), value })
}

fn inherited(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err("its value is not UTF-8, which a component needs".to_owned())
        }
    }
}

fn dir(text: &str) -> Result<DirGrant, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("a path is missing: HOST, or HOST::GUEST".to_owned());
    }
    Ok(DirGrant { host: PathBuf::from(host), guest: guest.to_owned(), access: Access::ReadWrite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_a_value_or_the_one_of_this_process() {
        let read = |text: &str| variable(text).map(|variable| (variable.name, variable.value));
        let set = |name: &str, value: &str| Ok((name.to_owned(), Some(value.to_owned())));
        assert_eq!(read("A=b=c"), set("A", "b=c"));
        assert_eq!(read("A="), set("A", ""));
        assert_eq!(read("CARGO_PKG_NAME"), set("CARGO_PKG_NAME", &std::env::var("CARGO_PKG_NAME").unwrap()));
        assert_eq!(read("NOBODY_HAS_THIS"), Ok(("NOBODY_HAS_THIS".to_owned(), None)));
        for bad in ["", "=a", "="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn folders_are_where_they_are_unless_said_otherwise() {
        let read = |text: &str| dir(text).map(|dir| (dir.host.display().to_string(), dir.guest, dir.access));
        let grant = |host: &str, guest: &str| Ok((host.to_owned(), guest.to_owned(), Access::ReadWrite));
        assert_eq!(read("."), grant(".", "."));
        assert_eq!(read("a::/b"), grant("a", "/b"));
        assert_eq!(read("a:b::/c"), grant("a:b", "/c"));
        for bad in ["", "::", "a::", "::/b"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
