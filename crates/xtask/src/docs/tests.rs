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
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/boards.md",
        "docs/config.md",
        "docs/install.md",
        "docs/simulator.md",
        "docs/errors.md",
    ];
    let mut seen = 0;
    for page in pages.map(|page| root().join(page)) {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                assert!(folder.join(link).exists(), "{} links to {link}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "only {seen} links were seen");
}

/// The rows `L1` to `L7` of ARCHITECTURE.md name crates, and behind each its test files, folders
/// and functions.
#[test]
fn tests_that_the_architecture_names_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| L"));
    let mut seen = 0;
    for row in rows {
        let mut tests: Option<(PathBuf, String)> = None;
        let where_tested = row.rsplit('|').nth(1).unwrap();
        for word in where_tested.split('`').skip(1).step_by(2) {
            let folder = root().join("crates").join(word).join("tests");
            if root().join("crates").join(word).is_dir() {
                assert!(folder.is_dir(), "{word} has no tests");
                let text = all_text(&folder);
                tests = Some((folder, text));
                continue;
            }
            let (folder, text) = tests.as_ref().unwrap_or_else(|| panic!("no crate before {word}"));
            let file = format!("{word}.rs");
            let is_file = text.contains(&format!("\n// {file}\n"));
            let is_function = text.contains(&format!("fn {word}("));
            assert!(
                is_file || is_function || folder.join(word).is_dir(),
                "{} has no test {word}",
                folder.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} tests were seen");
}

/// Every Rust file below `folder`, its name in front.
fn all_text(folder: &Path) -> String {
    let mut text = String::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.file_name().unwrap().to_str().unwrap();
                let source = fs::read_to_string(&path).unwrap();
                text.extend(["\n// ", name, "\n", &source]);
            }
        }
    }
    text
}
