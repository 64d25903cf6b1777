//! Plain Rust that knows nothing of curfew. Arguments: `return|error|sleep|exit3|env|cat`, `print TEXT`,
//! `lines COUNT`, `read PATH`, `write PATH TEXT`, or `connect|bind|send ADDRESS`, each of them three times.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
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
        "lines" => lines(argument(1))?,
        "connect" => three_times(|| TcpStream::connect(argument(1)).map(drop))?,
        "bind" => three_times(|| TcpListener::bind(argument(1)).map(drop))?,
        "send" => three_times(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", argument(1)).map(drop))?,
        "env" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "cat" => cat()?,
        "read" => io::stdout().write_all(&std::fs::read(argument(1))?)?,
        "write" => std::fs::write(argument(1), argument(2))?,
        other => return Err(io::Error::other(format!("unknown behaviour {other}"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn three_times(act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let _ = act();
    let _ = act();
    act()
}

/// Writes numbered lines as fast as it can.
fn lines(count: &str) -> io::Result<()> {
    let count: u64 = count.parse().map_err(io::Error::other)?;
    let mut stdout = io::BufWriter::with_capacity(64 * 1024, io::stdout());
    (1..=count).try_for_each(|number| writeln!(stdout, "line {number}"))?;
    stdout.flush()
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
