//! Plain Rust that knows nothing of curfew. Arguments: `return|error|sleep|exit3|env|cat`, `print TEXT`,
//! `read PATH` or `write PATH TEXT`.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match act(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(args: &[String]) -> io::Result<ExitCode> {
    let argument = |at: usize| args.get(at).map_or("", String::as_str);
    match argument(0) {
        "" | "return" => {}
        "error" => return Ok(ExitCode::FAILURE),
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        "exit3" => std::process::exit(3),
        "print" => println!("{}", args[1..].join(" ")),
        "env" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "cat" => cat()?,
        "read" => io::stdout().write_all(&std::fs::read(argument(1))?)?,
        "write" => std::fs::write(argument(1), argument(2))?,
        other => return Err(io::Error::other(format!("unknown behaviour {other}"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies at once what comes, without waiting for a full line.
fn cat() -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = io::stdin().read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        io::stdout().write_all(&buffer[..length])?;
        io::stdout().flush()?;
    }
}
