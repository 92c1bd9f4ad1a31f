//! Reading back what a change did.
//!
//! Must never change anything: the change stands, whatever reading says.

use std::time::Duration;

use crate::symbols::Call;

/// Between attempts to read back. Long enough for a driver that is busy with the change itself,
/// short enough that a lease does not wait noticeably: a create takes about as long.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(300)];

/// Reads what a change did. One bad answer does not undo the change, so it does not count: it is
/// asked again after each of [`PAUSES`], or at once without `pauses`.
pub(crate) fn read_back<T>(pauses: bool, read: impl Fn() -> Call<T>) -> Call<T> {
    for pause in PAUSES {
        if let Ok(found) = read() {
            return Ok(found);
        }
        if pauses {
            std::thread::sleep(pause);
        }
    }
    read()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::returns::NvmlReturn;
    use crate::symbols::CallError;

    #[test]
    fn the_last_of_four_answers_counts() {
        let unknown = CallError::Returned(NvmlReturn::Unknown);
        for (bad, expected) in [(0, Ok(0)), (3, Ok(3)), (4, Err(unknown))] {
            let asked = Cell::new(0);
            let found = read_back(false, || {
                let number = asked.replace(asked.get() + 1);
                if number < bad { Err(unknown) } else { Ok(number) }
            });
            assert_eq!(found, expected);
            assert_eq!(asked.get(), (bad + 1).min(4));
        }
    }
}
