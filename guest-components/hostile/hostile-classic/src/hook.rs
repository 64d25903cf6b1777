//! How the hook behaves.

use crate::curfew::lifecycle::host;
use crate::wasi::cli::exit;

use crate::{HOUR, MILLISECOND, extend_for_ever, misdeeds, wait_for};

pub fn behave(behaviour: &str) -> Result<(), String> {
    match behaviour {
        "good" => {}
        "spin" => misdeeds::spin(),
        "park" => wait_for(HOUR),
        "trap" => misdeeds::deep_trap(),
        "error" => return Err("the hook failed on purpose".to_string()),
        "exit0" => exit::exit(Ok(())),
        "exit3" => exit::exit_with_code(3),
        "extend" => extend_for_ever(),
        "request-stop" => host::request_stop(),
        "panic" => misdeeds::panic_on_purpose(),
        "slow" => wait_for(misdeeds::number("ms", 100) * MILLISECOND),
        "flood" => loop {
            misdeeds::flood_line();
        },
        other => return Err(misdeeds::unknown("hook", other)),
    }
    Ok(())
}
