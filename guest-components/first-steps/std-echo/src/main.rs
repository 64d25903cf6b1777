//! A TCP echo server with `std::net`, as for any other target.

use std::env;
use std::io;
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_string());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        if let Err(error) = io::copy(&mut &stream, &mut &stream) {
            eprintln!("a client is gone: {error}");
        }
    }
    Ok(())
}
