//! The pages as they are, and sources and pages that differ.
//!
//! Must never pass because nothing was looked at.

use model::catalog;

use super::*;

#[test]
fn generated_files_are_up_to_date() {
    let stale: Vec<&str> =
        generated().iter().filter(|page| !page.is_current()).map(|page| page.path).collect();
    assert!(stale.is_empty(), "{stale:?}: run `cargo xtask docs`");
}

#[test]
fn every_board_is_in_the_page_of_boards() {
    let text = boards::text();
    assert_eq!(catalog::boards().count(), 42);
    for board in catalog::boards() {
        assert!(text.contains(&format!("| `{}` |", board.id)), "{}", board.id);
    }
}

/// The numbers NVIDIA's user guide and `-lgip` tables lead to; the catalog's own tests derive them.
#[test]
fn the_counts_are_those_of_the_sources() {
    let text = boards::text();
    for row in [
        "| plain | 298 | 19 | 38 | 14 |",
        "| no attributes | 723 | 78 | 78 | 38 |",
        "| all | 2319 | 239 | 128 | 64 |",
        "| plain | 26 | 5 | 10 | 4 |",
        "| all | 717 | 302 | 115 | 64 |",
    ] {
        assert!(text.contains(row), "{row}");
    }
}

/// A row of the user guide's table for A100-SXM4-40GB, and a value nobody has shown.
#[test]
fn rows_are_the_vendors_and_mark_what_is_not_known() {
    let text = boards::text();
    assert!(
        text.contains("| `1g.5gb` | 19 | 4864 | 14 | 0 | 0 | 1 | 0 | 0 | {0,1,2,3,4,5,6}:1 | 7 |")
    );
    let derived = catalog::boards().map(|board| board.derived().len()).sum::<usize>();
    assert!(derived > 0);
    assert!(text.matches("* |").count() > 0);
}

#[test]
fn links_to_grids_lead_somewhere() {
    let text = boards::text();
    let anchors: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace([':', ','], "").replace(' ', "-"))
        .collect();
    let links = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let mut seen = 0;
    for link in links {
        assert!(anchors.iter().any(|anchor| anchor == link), "{link}");
        seen += 1;
    }
    assert_eq!(seen, 42);
}

#[test]
fn every_error_code_is_explained_and_no_other() {
    let used = errors::codes_of_sources(&root()).unwrap();
    assert!(used.len() > 50, "only {} codes were seen", used.len());
    let differences = error_codes().unwrap();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn codes_are_read_from_literals_in_front_of_the_tests() {
    let source = "/// As `\"E-COMMENT\"` says.\nconst A: &str = \"E-A-B\"; // \"x\"\n\
                  f(\"text\", \"E-C\");\nf(\"E-\", \"E-x\", \"not E-D\");\n\
                  #[cfg(test)]\nmod tests {\n    f(\"E-TEST\");\n}\n";
    let codes: Vec<String> = errors::codes_of_source(source).into_iter().collect();
    assert_eq!(codes, ["E-A-B", "E-C"]);
    let page = "| `E-A` | words |\ntext `E-B`\n| `other` | words |\n";
    let codes: Vec<String> = errors::codes_of_page(page).into_iter().collect();
    assert_eq!(codes, ["E-A"]);
}

#[test]
fn files_that_pages_link_to_exist() {
    let folder = root().join("docs");
    let mut seen = 0;
    for page in ["boards.md", "simulator.md", "errors.md"] {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                assert!(folder.join(link).exists(), "{page} links to {link}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}
