//! The device filters of a real systemd: tries whether they are enforced, and puts a process into a scope
//! in which of the character devices of a major only some can be opened.
//!
//! `cargo run -p host --example scope -- NAME [PID MAJOR MINOR…]`

#![allow(clippy::print_stdout, reason = "it prints what came of it")]

use host::units::{Scopes, SystemdUnits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("usage: scope NAME [PID MAJOR MINOR…]")?;
    println!("found by itself: {}", Scopes::find().is_some());
    let scopes = Scopes::at(SystemdUnits::default(), "/proc");
    println!("enforced: {}", scopes.are_enforced(&format!("{name}-trial.service"))?);
    let numbers = args.map(|text| text.parse()).collect::<Result<Vec<u32>, _>>()?;
    if let [pid, major, own @ ..] = numbers.as_slice() {
        let begun = std::time::Instant::now();
        scopes.confine(*pid, &format!("{name}.scope"), *major, own)?;
        println!("pid {pid} is in it after {:?}", begun.elapsed());
    }
    Ok(())
}
