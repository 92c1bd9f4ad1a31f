//! Tests of where files belong, with real folders.
//!
//! Must never touch the folders of a real installation.

use super::folders::{check_above, maps_everybody};
use super::*;

fn user(uid: u32, state: Option<&str>, runtime: Option<&str>) -> Surroundings {
    Surroundings {
        uid: Uid::new(uid),
        home: Some(PathBuf::from("/home/kim")),
        state_dir: state.map(PathBuf::from),
        runtime_dir: runtime.map(PathBuf::from),
    }
}

fn simulated(name: &str) -> Machine {
    Machine::Simulated(name.parse().unwrap())
}

fn places(machine: &Machine, surroundings: &Surroundings) -> (String, String) {
    let places = Places::of(machine, surroundings).unwrap();
    (places.journal().display().to_string(), places.socket().display().to_string())
}

fn pair(journal: &str, socket: &str) -> (String, String) {
    (journal.to_owned(), socket.to_owned())
}

#[test]
fn root_on_a_real_machine_ignores_the_environment() {
    let wanted = pair("/var/lib/migd/journal.db", "/run/migd/migd.sock");
    assert_eq!(places(&Machine::Real, &user(0, Some("/evil"), Some("/evil"))), wanted);
}

#[test]
fn root_may_choose_where_a_simulated_machine_lives() {
    let machine = simulated("dgx-a100");
    let default = pair("/var/lib/migd/sim/dgx-a100/journal.db", "/run/migd/sim/dgx-a100/migd.sock");
    assert_eq!(places(&machine, &user(0, None, Some("/run/user/0"))), default);
    let chosen = pair("/t/s/sim/dgx-a100/journal.db", "/t/s/sim/dgx-a100/run/migd.sock");
    assert_eq!(places(&machine, &user(0, Some("/t/s"), None)), chosen);
}

#[test]
fn a_user_has_state_at_home_and_sockets_in_the_runtime_folder() {
    let state = "/home/kim/.local/state/migd/sim/a/journal.db";
    let with_runtime = user(1000, None, Some("/run/user/1000"));
    assert_eq!(
        places(&simulated("a"), &with_runtime),
        pair(state, "/run/user/1000/migd/sim/a/migd.sock")
    );
    assert_eq!(
        places(&simulated("a"), &user(1000, None, None)),
        pair(state, "/tmp/migd-1000/sim/a/migd.sock")
    );
}

#[test]
fn a_long_chosen_folder_gets_a_short_socket_of_its_own() {
    let long = |last: &str| format!("/{}/{last}", "d".repeat(120));
    let first = places(&simulated("a"), &user(0, Some(&long("x")), None)).1;
    let second = places(&simulated("a"), &user(0, Some(&long("y")), None)).1;
    assert_ne!(first, second);
    for socket in [first, second] {
        assert!(socket.starts_with("/run/migd/") && socket.len() <= SOCKET_PATH_MAX, "{socket}");
    }
    let runtime = format!("/{}", "r".repeat(100));
    let error = Places::of(&simulated("a"), &user(7, None, Some(&runtime))).unwrap_err();
    assert!(matches!(error, PathsError::SocketTooLong(_)), "{error}");
}

#[test]
fn without_a_home_or_with_a_relative_folder_there_is_no_place() {
    let mut nobody = user(1000, None, None);
    nobody.home = None;
    assert!(matches!(Places::of(&Machine::Real, &nobody), Err(PathsError::NoHome)));
    let relative = user(1000, Some("state"), None);
    assert!(matches!(Places::of(&Machine::Real, &relative), Err(PathsError::Relative(_))));
}

#[test]
fn names_are_safe_as_folders() {
    assert_eq!(MachineName::for_spec("a30-24gb:4").unwrap().as_str(), "a30-24gb@4");
    for good in ["dgx-a100", "a", "A.b_c@2"] {
        assert!(good.parse::<MachineName>().is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "a\n", "ä", &"a".repeat(41)] {
        assert!(bad.parse::<MachineName>().is_err(), "{bad}");
    }
}

#[test]
fn folders_are_made_private_and_others_are_refused() {
    let top = tempfile::tempdir().unwrap();
    let me = Surroundings::current();
    let surroundings = Surroundings { state_dir: Some(top.path().join("state")), ..me.clone() };
    let places = Places::of(&simulated("x"), &surroundings).unwrap();
    places.prepare(Reach::Owner).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(places.state_dir()), 0o700);
    assert_eq!(mode(places.runtime_dir()), 0o700);
    places.prepare(Reach::Everybody).unwrap();
    assert_eq!(mode(places.runtime_dir()), 0o755);

    let stranger = Uid::new(me.uid.get() + 1);
    let error = ensure_folder(places.state_dir(), stranger, 0o700).unwrap_err();
    assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");

    let link = top.path().join("link");
    std::os::unix::fs::symlink(places.state_dir(), &link).unwrap();
    let error = ensure_folder(&link, me.uid, 0o700).unwrap_err();
    assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");

    let open = top.path().join("open");
    ensure_folder(&open, me.uid, 0o777).unwrap();
    let inner = open.join("inner");
    ensure_folder(&inner, me.uid, 0o700).unwrap();
    let error = check_above(&inner, me.uid).unwrap_err();
    assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");
    ensure_folder(&open, me.uid, 0o755).unwrap();
    check_above(&inner, me.uid).unwrap();
    if !me.is_root() {
        return;
    }
    // What a stranger owns in /tmp he could exchange, even above a folder of ours.
    std::os::unix::fs::chown(&open, Some(stranger.get()), None).unwrap();
    assert!(matches!(check_above(&inner, me.uid), Err(PathsError::Untrusted { .. })));
}

#[test]
fn a_shared_machine_can_be_reached_and_a_private_one_not() {
    let top = tempfile::tempdir().unwrap();
    let state_dir = Some(top.path().join("state"));
    let surroundings = Surroundings { state_dir, ..Surroundings::current() };
    let places = Places::of(&simulated("x"), &surroundings).unwrap();
    places.prepare(Reach::Owner).unwrap();
    let way = || {
        let folders = places.runtime_dir().ancestors().take(4);
        let passable = |folder: &Path| std::fs::metadata(folder).unwrap().mode() & 0o001 != 0;
        folders.map(passable).collect::<Vec<_>>()
    };
    assert_eq!(way(), [false; 4]);
    places.prepare(Reach::Everybody).unwrap();
    assert_eq!(way(), [true; 4]);
    assert_eq!(std::fs::metadata(places.state_dir()).unwrap().mode() & 0o777, 0o711);
}

#[test]
fn a_sandboxs_map_of_users_is_told_from_the_machines() {
    assert!(maps_everybody("         0          0 4294967295\n"));
    assert!(!maps_everybody("      1000       1000          1\n"));
    assert!(!maps_everybody(
        "         0       1000          1\n         1     100000      65536\n"
    ));
    assert!(!maps_everybody(""));
}
