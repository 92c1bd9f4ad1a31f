//! Small files of every form, right and wrong.

use super::*;
use crate::fleet::Site;

fn words(format: Format, text: &str) -> String {
    read(format, text, Reading::default()).unwrap_err().to_string()
}

fn requests(format: Format, text: &str, board: &str) -> Vec<(u64, Option<u64>, String, u32)> {
    let replica = Some(Replica { profile: "2g".parse().unwrap(), tokens_per_second: 100 });
    let trace = read(format, text, Reading { replica }).unwrap();
    let site = Site::of(board, 4).unwrap();
    let work = trace.on(&site, "x").unwrap();
    let of = |r: &Request| {
        let holds = r.holds.map(Millis::get);
        (r.arrival.as_millis(), holds, work.kinds[r.kind].name.clone(), r.count)
    };
    work.requests.iter().map(of).collect()
}

#[test]
fn a_table_of_our_own() {
    let text = "# a comment\narrival_s,duration_s,profile,tenant,count,colour\n\
                10,90.5,2g.20gb,\"a, b\",2,red\n\n5,,gpu,,,blue\n";
    let found = requests(Format::Csv, text, "a100-sxm4-80gb");
    let expected =
        [(0, None, "7g.80gb".to_owned(), 1), (5000, Some(90_500), "2g.20gb".to_owned(), 2)];
    assert_eq!(found, expected);
    let trace = read(Format::Csv, text, Reading::default()).unwrap();
    assert_eq!(trace.rows[0].tenant, "a, b");
    assert!(trace.notes[0].contains("colour"), "{:?}", trace.notes);
    assert!(trace.without_ends().rows.iter().all(|row| row.length == Length::Forever));
}

#[test]
fn wrong_tables_say_where_and_what_was_expected() {
    let head = "arrival_s,duration_s,profile,tenant,count\n";
    for (row, place, expected) in [
        ("x,1,1g,a,1", "line 2, column 1", "seconds"),
        ("1,-3,1g,a,1", "line 2, column 3", "seconds"),
        ("1, 2,huge,a,1", "line 2, column 6", "a profile such as"),
        ("1,2,1g,a,0", "line 2, column 10", "1 to 100000"),
        ("1,2,1g,a,many", "line 2, column 10", "whole number"),
        ("1,2,1g,a", "line 2, column 8", "5, separated by commas"),
        ("1,2,1g,a,1,1", "line 2, column 12", "5, separated by commas"),
        ("1,2,\"1g,a,1", "line 2, column 5", "quotation mark"),
    ] {
        let said = words(Format::Csv, &format!("{head}{row}\n"));
        assert!(said.contains(place) && said.contains(expected), "{row}: {said}");
    }
    assert!(words(Format::Csv, "when,what\n1,1g\n").contains("no column `arrival_s`"));
    assert!(words(Format::Csv, "").contains("arrival_s,duration_s,profile"));
    assert!(words(Format::Csv, head).contains("no row asks"));
    let trace = read(Format::Csv, &format!("{head}1,1,1g.5gb,a,1\n"), Reading::default()).unwrap();
    let said = trace.on(&Site::of("a30", 1).unwrap(), "x").unwrap_err().to_string();
    assert!(said.starts_with("line 2: no board") && said.contains("1g.6gb"), "{said}");
}

#[test]
fn pods_of_openb_are_mapped_as_documented() {
    let text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,\
                deletion_time,scheduled_time\n\
                a,1,1,1,1000,,LS,Running,0,100,20\nb,1,1,1,460,,BE,Running,5,65,\n\
                c,1,1,0,0,,LS,Running,6,9,6\nd,1,1,8,1000,,LS,Running,7,8,7\n\
                e,1,1,1,50,V100,LS,Running,8,9,8\n";
    let found = requests(Format::Openb, text, "a100-sxm4-80gb");
    let expected = [
        (0, Some(80_000), "7g.80gb".to_owned(), 1),
        (5000, Some(60_000), "4g.40gb".to_owned(), 1),
        (7000, Some(1000), "7g.80gb".to_owned(), 8),
        (8000, Some(1000), "1g.10gb".to_owned(), 1),
    ];
    assert_eq!(found, expected);
    let notes = read(Format::Openb, text, Reading::default()).unwrap().notes;
    assert!(notes[0].starts_with("1 pods without") && notes[1].starts_with("1 pods never"));
    let bad = text.replace(",460,", ",4600,");
    assert!(words(Format::Openb, &bad).contains("line 3, column 9: gpu_milli is `4600`"));
    assert!(words(Format::Openb, &text.replace("qos", "q")).contains("no column `qos`"));
    let back = text.replace("5,65,", "5,3,");
    assert!(words(Format::Openb, &back).contains("deletion_time is `3`"));
}

#[test]
fn jobs_of_migbench_run_as_long_as_their_work_takes() {
    let text = "1,37318,2800000,20480\n2,59343,1000,81920\n3,60000,1401,5000\n";
    let found = requests(Format::Migbench, text, "h100-sxm5-80gb");
    let expected = [
        (0, Some(100_000), "2g.20gb".to_owned(), 1),
        (22_025, Some(10), "7g.80gb".to_owned(), 1),
        (22_682, Some(101), "1g.10gb".to_owned(), 1),
    ];
    assert_eq!(found, expected);
    let headed = format!("id,arrival_ms,computeCoreMS,memoryMB\n{text}");
    assert_eq!(requests(Format::Migbench, &headed, "h100-sxm5-80gb"), expected);
    assert!(words(Format::Migbench, "1,x,3,4\n").contains("line 1, column 3: arrival_ms"));
    assert!(words(Format::Migbench, "1,2,3\n").contains("has 3 values"));
}

#[test]
fn an_hour_of_inference_is_replicas() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                2023-11-16 23:59:30.5000000,5000,1000\n2023-11-17 00:00:31,6000,1\n\
                2023-11-17 00:01:31.0,600,0\n";
    // 100 tokens a second are 6,000 a minute: one, two, one replicas.
    let found = requests(Format::Azure, text, "a100-sxm4-80gb");
    let minute = 60_000;
    let expected = [
        (0, Some(3 * minute), "2g.20gb".to_owned(), 1),
        (minute, Some(minute), "2g.20gb".to_owned(), 1),
    ];
    assert_eq!(found, expected);
    assert!(words(Format::Azure, text).contains("--replica"));
    for bad in ["2023-13-16 00:00:00", "yesterday", "2023-11-16 25:00:00", "2023-11-16 1:2:3.x"] {
        let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{bad},1,1\n");
        let replica = Some(Replica { profile: "2g".parse().unwrap(), tokens_per_second: 1 });
        let said = read(Format::Azure, &text, Reading { replica }).unwrap_err().to_string();
        assert!(said.contains("line 2, column 1: TIMESTAMP is"), "{bad}: {said}");
    }
}

#[test]
fn our_own_history() {
    let text = r#"[
      {"id": "L3", "tenant": "ml", "requested_at_ms": 5000, "more": 1,
       "receipt": {"profiles": ["1g.10gb", "1g.10gb", "3g.40gb"], "whole_gpus": 0, "held_ms": 7000}},
      {"id": "L4", "tenant": "ml", "requested_at_ms": 4000, "receipt": null},
      {"id": "L5", "tenant": "bio", "requested_at_ms": 4500,
       "receipt": {"profiles": [], "whole_gpus": 2, "held_ms": 9000}}]"#;
    let found = requests(Format::History, text, "a100-sxm4-80gb");
    let expected = [
        (0, Some(9000), "7g.80gb".to_owned(), 2),
        (500, Some(7000), "1g.10gb".to_owned(), 2),
        (500, Some(7000), "3g.40gb".to_owned(), 1),
    ];
    assert_eq!(found, expected);
    assert!(words(Format::History, "[{\"id\": 3}]").contains("line 1, column 9"));
    let said = words(Format::History, &text.replace("3g.40gb", "large"));
    assert!(said.contains("entry 1: lease L3 had `large`"), "{said}");
    assert!("pdf".parse::<Format>().unwrap_err().to_string().contains("openb"));
}
