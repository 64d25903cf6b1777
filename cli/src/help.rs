//! Help texts after the arguments of a command: notes, examples and exit codes. The pages of the manual have them, too.

/// Returns a text with each of its paragraphs on one line, for clap to wrap at the width that there is. Indented lines are examples.
pub(crate) fn flow(text: &str) -> String {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut() {
            Some(last) if is_prose(last) && is_prose(line) => *last = format!("{last} {line}"),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

pub(crate) const RUN: &str = "\
Signals: TERM and INT stop gracefully; each further INT goes one step further: it ends the delay, then cuts off, then
exits at once. QUIT stops with four times the grace. HUP reloads the manifest; without a manifest, or when the terminal
is gone, it stops the app. USR1 prints the status.

Exit codes: 0 all ended cleanly; 1 a component failed; 2 usage; 3 a hook failed; 69 a file could not be read, an
address could not be bound, or the machine was too small; 70 a bug in curfew; 75 a component failed more often than its
`restart` allows; 78 the manifest or a component is invalid; 124 a component was cut off at the end of its grace; 128+n
forced by signal n. For a single .wasm file, curfew leaves with the exit status of the component, or with 1 when it traps.

A single .wasm file runs as with `wasmtime run`: its standard streams pass through unchanged, and only the flags grant
it anything. A file that handles HTTP is served, as with `wasmtime serve`. A core module for WASI preview 1 runs, too.

Examples:
  curfew run app.wasm --env LOG=debug --env HOME --dir data::/data -- arg1 arg2
  curfew run hello.wasm --listen 127.0.0.1:9000

The compile cache is in $CURFEW_CACHE_DIR, else in $XDG_CACHE_HOME/curfew or ~/.cache/curfew. Entries that were
not used for 30 days are removed.";

pub(crate) const NEW: &str = "\
Examples:
  curfew new hello --lang python                 a service: prints each second, ends when it must stop
  curfew new web --lang rust --kind http --async an HTTP handler for WASI 0.3

Exit codes: 0 written; 2 usage, or there is no template for such a project; 69 it cannot be written.";

pub(crate) const DRILL: &str = "\
The drill runs the app for each scenario, in a process of its own. The scenarios are: TERM (term), INT INT (int),
QUIT (quit), TERM at ten moments of the start (start), the failure of an added component (peer), and a reload without a
change and a restart of each component (reload). Each runs idle and, where a component answers HTTP, under load.

The drill passes if every hook runs once, no accepted request is lost, every component ends within its grace, and no
descriptor, thread, process or socket is left.

Examples:
  curfew drill                           the app of ./curfew.toml
  curfew drill --junit drill.xml         for CI
  curfew drill hello.wasm --listen 127.0.0.1:0
  curfew drill --load http://127.0.0.1:8080/cart --only term,peer

docs/drill.schema.json describes the document that --json prints.

Exit codes: 0 all scenarios passed; 1 a scenario failed; 2 usage; 69 the app cannot start: an address cannot be bound, or
a file cannot be read; 78 the app cannot start: the manifest or a component is invalid.";

pub(crate) const CHECK: &str = "\
Exit codes: 0 it can run; 2 usage; 69 a file could not be read, or a name could not be looked up; 78 the manifest or a
component is invalid.";

pub(crate) const STATUS: &str = "\
Examples:
  curfew status                          the app of ./curfew.toml
  curfew status shop.toml                the app of this manifest
  curfew status --watch --control /run/shop.sock
  curfew status --json | jq .components
  curfew status --ready                  for the health check of a container

docs/status.schema.json describes the document that --json prints. --watch ends when the app has ended.

Exit codes: 0 printed; 1 the app does not answer, or with --ready, it is not ready; 2 usage; 69 no app listens on the
control socket.";

pub(crate) const STOP: &str = "\
Examples:
  curfew stop                            as TERM does, with the app's drain-delay; returns when the app has ended
  curfew stop --no-wait                  the same; returns when the stop has begun
  curfew stop --now                      without drain-delay; also ends one that is under way
  curfew stop shop.toml                  the app of this manifest
  curfew stop web                        only this component; returns when it has ended
  curfew stop web --now                  only this component, which is cut off at once

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 no app listens on the control socket.";

pub(crate) const RELOAD: &str = "\
Returns 0 when the new version of the app has taken over, and prints what has changed. A new generation takes over when its
first instance is up; a service when it has said that it is ready, or else has run for one second. Returns 1 when one of them
has failed: then everything goes on as before, and a service that had ended for its successor is started again. The signal HUP
does the same without waiting.

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 no app listens on the control socket.";

pub(crate) const RESTART: &str = "\
The fresh generation starts first and takes over without a gap; then the old one stops. The old generation of a service
ends first, unless the manifest says `overlap = true`. If the fresh generation fails before it is ready, the old one goes
on; that of a service is started again.

Example:
  curfew restart web

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 no app listens on the control socket.";

pub(crate) const SCHEMA: &str = "\
Examples:
  curfew schema > curfew.schema.json     then the manifest begins with #:schema ./curfew.schema.json

Exit codes: 0 printed; 2 usage.";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  curfew completions bash > ~/.local/share/bash-completion/completions/curfew
  curfew completions zsh > ~/.zfunc/_curfew
  curfew completions fish > ~/.config/fish/completions/curfew.fish

Exit codes: 0 printed; 2 usage.";

pub(crate) const MAN: &str = "\
Examples:
  curfew man run | man -l -              read the page of one command
  curfew man --out ~/.local/share/man/man1

Exit codes: 0 printed or written; 2 usage; 69 a page could not be written.";
