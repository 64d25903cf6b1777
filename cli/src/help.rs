//! What `--help` says after the arguments of a command: examples, what is good to know, and exit codes. The pages of the manual
//! have the same.

pub(super) const RUN_HELP: &str = "\
Signals: TERM and INT stop gracefully (INT once more ends the delay, then cuts off now, then exits at once),
QUIT stops with four times the grace, HUP reads the manifest again (without one, or when the terminal is gone, it
stops), USR1 prints the status.

Exit codes: 0 all ended cleanly; 1 a component failed; 2 usage; 3 a hook failed; 69 a file could not be read, or
an address could not be bound; 70 a bug in curfew; 75 a component failed more often than its `restart` allows; 78 the
manifest or a component is invalid; 124 a component was cut off at the end of its grace; 128+n forced by signal n. A
single .wasm file passes its own exit status on; when it traps, the code is 1.

A single .wasm file runs as with `wasmtime run`: its standard streams pass through as they are, and it is granted what the flags
say and nothing else. One that handles HTTP is served, as with `wasmtime serve`. A core module for WASI preview 1 is adapted
while it is loaded.

Examples:
  curfew run app.wasm --env LOG=debug --env HOME --dir data::/data -- arg1 arg2
  curfew run hello.wasm --listen 127.0.0.1:9000

The compile cache is in $CURFEW_CACHE_DIR, else in $XDG_CACHE_HOME/curfew or ~/.cache/curfew. What nobody
has used for 30 days goes.";

pub(super) const NEW_HELP: &str = "\
Examples:
  curfew new hello --lang python                 a service: prints each second, ends when it is asked to
  curfew new web --lang rust --kind http --async an HTTP handler for WASI 0.3

Exit codes: 0 written; 2 usage, or there is no such project; 69 it cannot be written.";

pub(super) const DRILL_HELP: &str = "\
The app runs in processes of its own, one after the other. Tried are: TERM (term), INT INT (int), QUIT (quit), TERM at ten
moments of the start (start), a component beside the others that fails (peer), and a reload that changes nothing with a
fresh generation of each component (reload). Each is tried idle and, where somebody answers HTTP, under load.

What must hold: every hook runs once, nothing that was accepted is lost, everybody leaves within the grace, and no
descriptor, thread, process or socket stays behind.

Examples:
  curfew drill                           the app of ./curfew.toml
  curfew drill --junit drill.xml         for CI
  curfew drill hello.wasm --listen 127.0.0.1:0
  curfew drill --load http://127.0.0.1:8080/cart --only term,peer

The document that --json prints is described in docs/drill.schema.json.

Exit codes: 0 all went well; 1 something did not; 2 usage; 69 the app cannot start: an address or a file cannot be had;
78 it cannot start: the manifest or a component is invalid.";

pub(super) const CHECK_HELP: &str = "\
Exit codes: 0 it can run; 2 usage; 69 a file could not be read, or a name not looked up; 78 the manifest or a component is
invalid.";

pub(super) const STATUS_HELP: &str = "\
Examples:
  curfew status                          the app of ./curfew.toml
  curfew status --watch --control /run/shop.sock
  curfew status --json | jq .components

The document that --json prints is described in docs/status.schema.json. --watch ends when the app is gone.

Exit codes: 0 told; 1 the app does not answer; 2 usage; 69 nobody listens on the control socket.";

pub(super) const STOP_HELP: &str = "\
Examples:
  curfew stop                            as TERM does, with the app's drain-delay
  curfew stop --now                      without it; also ends a drain-delay that is under way
  curfew stop web                        only this component: returns when it has ended
  curfew stop web --now                  the same without its grace: it is cut off

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";

pub(super) const RELOAD_HELP: &str = "\
Returns when the new version of the app has taken over (0), or when the reload has failed and changed nothing (1).
HUP does the same without waiting.

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";

pub(super) const RESTART_HELP: &str = "\
The fresh one starts first and takes over without a gap, then the old one is stopped. Of a service the old one ends first,
unless its manifest says `overlap = true`.

Example:
  curfew restart web

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";
