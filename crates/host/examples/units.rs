//! Looks at systemd's units of this machine, stops one or starts one: `units list | show NAME |
//! stop NAME | start NAME | halt WORDS`, where WORDS are those of `--stop-clients`.
//!
//! Must never be used on a machine whose units matter: it is for trying the D-Bus side by hand.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::time::Duration;

use host::units::{Halt, SystemdUnits, Units as _};

const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let units = SystemdUnits::default();
    match words.as_slice() {
        ["list"] => {
            for unit in units.list()? {
                println!("{} {}", unit.name, unit.activity.word());
            }
        }
        ["show", name] => println!("{:#?}", units.unit(&name.parse()?)?),
        ["stop", name] => units.stop(&name.parse()?, LIMIT)?,
        ["start", name] => println!("{:?}", units.start(&name.parse()?, LIMIT)?),
        ["halt", words] => {
            let (halt, kept) = Halt::of(&units, &words.parse()?)?;
            println!("stops {:?}, keeps {kept:?}", halt.units);
            let stopped = halt.stop(&units, LIMIT);
            println!("stopped: {stopped:?}");
            println!("started: {:?}", halt.start(&units, LIMIT));
        }
        _ => return Err("list | show NAME | stop NAME | start NAME | halt WORDS".into()),
    }
    Ok(())
}
