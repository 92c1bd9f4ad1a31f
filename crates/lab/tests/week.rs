//! One day of the week, with few users: laws hold, the seed decides, all columns serve the same.

use lab::week::{COLUMNS, Scenario, markdown, run};

const DAY: Scenario = Scenario { seed: 1, days: 1, users: 12 };

#[test]
fn a_day_keeps_the_laws_and_is_the_same_again() {
    let day = run(&DAY).expect("a machine");
    assert_eq!(day.columns.len(), COLUMNS.len());
    for (name, column) in COLUMNS.iter().zip(&day.columns) {
        assert!(column.violations.is_empty(), "{name}: {:?}", column.violations);
        assert_eq!(column.asked, day.columns[0].asked, "{name} was asked for something else");
        assert!(column.figure("started") > 0.0, "{name} served nobody");
        let (held, used) = (column.figure("held %"), column.figure("used %"));
        assert!(used <= held + 1e-9 && held <= 100.0, "{name}: {used} of {held}");
    }
    let (migd, whole) = (&day.columns[0], &day.columns[1]);
    assert!(migd.figure("crashes") > 0.0 && migd.figure("checks of all laws") > 100.0);
    assert!(migd.figure("idle leases taken back") > 0.0, "nobody's notebook was idle");
    assert!(whole.figure("held %") > migd.figure("held %"), "a slice takes a whole GPU there");
    let again = run(&DAY).expect("a machine");
    assert_eq!(markdown(&[day]), markdown(&[again]));
}

#[test]
fn another_seed_is_another_day() {
    let one = run(&DAY).expect("a machine");
    let other = run(&Scenario { seed: 2, ..DAY }).expect("a machine");
    assert_ne!(one.columns[0].asked, other.columns[0].asked);
}
