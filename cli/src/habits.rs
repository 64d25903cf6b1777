//! Command lines of other tools: `wasmtime serve`, `wasmtime run`, `spin up`, `docker compose up`. One that clap refuses gets the
//! same in curfew's words.
//!
//! Invariant: a suggestion is a command line that clap takes.

use std::ffi::OsString;

use clap::Parser;

use crate::args::Cli;

/// Commands of other tools that run an app, and our own.
const RUN: [&str; 7] = ["run", "serve", "up", "start", "exec", "launch", "compose"];

/// Options of other tools without a value that curfew does not need.
const BARE: [&str; 5] = ["-d", "--detach", "--build", "--quiet", "-q"];

/// Returns the command line that was meant by these arguments, without the name of the program.
pub(crate) fn meant(args: &[OsString]) -> Option<String> {
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    let (first, _) = args.split_first()?;
    let is_file = |arg: &str| [".wasm", ".wat", ".cwasm", ".toml"].iter().any(|end| arg.ends_with(end));
    let is_run = RUN.contains(first);
    if !(is_run || is_file(first) || first.starts_with('-') && args.iter().any(|arg| is_file(arg))) {
        return None;
    }
    let mut meant = vec!["run".to_owned()];
    let mut behind = Vec::new();
    let mut rest = args.iter().skip(usize::from(is_run)).copied();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            behind.extend(rest.by_ref().map(str::to_owned));
        } else if let Some((option, value)) = option(arg) {
            // `-Shttp`, `--addr=IP:PORT`, or the value as the next argument.
            meant.extend(ours(option, value.or_else(|| rest.next())?)?);
        } else if arg.starts_with('-') {
            meant.extend((!BARE.contains(&arg)).then(|| arg.to_owned()));
        } else if *first == "compose" && RUN.contains(&arg) {
            // `docker compose up`.
        } else if is_file(arg) || !meant.iter().any(|meant| is_file(meant)) {
            meant.push(arg.to_owned());
        } else {
            behind.push(arg.to_owned());
        }
    }
    if !behind.is_empty() {
        meant.push("--".to_owned());
        meant.extend(behind);
    }
    let is_taken =
        Cli::try_parse_from(std::iter::once("curfew".to_owned()).chain(meant.iter().cloned())).is_ok();
    is_taken.then(|| format!("curfew {}", meant.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ")))
}

/// Splits an option of another tool that takes a value; `None` for all others.
fn option(arg: &str) -> Option<(&str, Option<&str>)> {
    const LONG: [&str; 18] = [
        "--addr",
        "--address",
        "--bind",
        "--port",
        "--publish",
        "--listen",
        "--wasi",
        "--wasm",
        "--opt",
        "--codegen",
        "--debug",
        "--env",
        "--dir",
        "--mapdir",
        "--volume",
        "--from",
        "--file",
        "--config",
    ];
    const SHORT: [&str; 10] = ["-S", "-W", "-O", "-C", "-D", "-e", "-p", "-v", "-f", "-c"];
    let (name, value) = arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
    if LONG.contains(&name) {
        return Some((name, value));
    }
    let short = SHORT.into_iter().find(|short| arg.starts_with(*short) && !arg.starts_with("--"))?;
    let value = arg.strip_prefix(short).filter(|value| !value.is_empty());
    Some((short, value))
}

/// Returns what curfew takes for an option; nothing if it does not need it.
fn ours(option: &str, value: &str) -> Option<Vec<String>> {
    let with = |flag: &str, value: String| Some(vec![flag.to_owned(), value]);
    match option {
        "--addr" | "--address" | "--bind" | "--port" | "--publish" | "--listen" | "-p" => {
            let is_port = value.bytes().all(|byte| byte.is_ascii_digit());
            with("--listen", if is_port { format!("127.0.0.1:{value}") } else { value.to_owned() })
        }
        "--env" | "-e" => with("--env", value.to_owned()),
        "--dir" | "--mapdir" | "--volume" | "-v" => {
            with("--dir", if value.contains("::") { value.to_owned() } else { value.replacen(':', "::", 1) })
        }
        "--from" | "--file" | "--config" | "-f" | "-c" => Some(vec![value.to_owned()]),
        "--wasi" | "-S" => {
            let opens = ["inherit-network", "tcp", "udp", "allow-ip-name-lookup"];
            let is_open = value.split(',').any(|one| opens.contains(&one.trim_end_matches("=y")));
            Some(is_open.then(|| "--allow-net".to_owned()).into_iter().collect())
        }
        _ => Some(Vec::new()),
    }
}

/// Returns an argument as a shell takes it.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+[]*".contains(c);
    match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.to_owned(),
        false => format!("'{}'", arg.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_other_tools_are_translated() {
        for (typed, ours) in [
            ("serve", Some("run")),
            ("serve hello.wasm", Some("run hello.wasm")),
            ("serve --addr 0.0.0.0:3000 hello.wasm", Some("run --listen 0.0.0.0:3000 hello.wasm")),
            (
                "serve --addr=127.0.0.1:0 -Scli -S http hello.wasm",
                Some("run --listen 127.0.0.1:0 hello.wasm"),
            ),
            ("hello.wasm", Some("run hello.wasm")),
            ("hello.wasm --env A=b one two", Some("run hello.wasm --env A=b -- one two")),
            ("--addr 8080 hello.wasm", Some("run --listen 127.0.0.1:8080 hello.wasm")),
            ("run --addr [::]:80 a.wasm", Some("run --listen [::]:80 a.wasm")),
            ("run -S inherit-network -W max-memory-size=1 a.wasm x", Some("run --allow-net a.wasm -- x")),
            ("run -v data:/data a.wasm", Some("run --dir data::/data a.wasm")),
            (
                "run --dir data::/data -O opt-level=2 a.wasm -- it's",
                Some("run --dir data::/data a.wasm -- 'it'\\''s'"),
            ),
            ("up", Some("run")),
            ("up --from app.toml --listen 127.0.0.1:3000", Some("run app.toml --listen 127.0.0.1:3000")),
            ("compose -f app.toml up -d", Some("run app.toml")),
            ("shop.toml", Some("run shop.toml")),
            ("run --invoke f a.wasm", None),
            ("chekc", None),
            ("check --addr x a.wasm", None),
            ("serve --addr nonsense a.wasm", None),
        ] {
            let args: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            assert_eq!(meant(&args), ours.map(|ours| format!("curfew {ours}")), "{typed}");
        }
    }
}
