//! The documents name only what exists: files, headings, targets, keys, metrics, tests, variables and dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use jumpstream::config::{Config, Environment};
use jumpstream::telemetry::metrics::table::{Kind, TABLE};

/// What a document says, in parts that are checked differently.
struct Document {
    /// From the top of the project.
    path: PathBuf,
    /// All of it but fenced blocks.
    prose: String,
    /// Fenced blocks with what follows the fence, their indent taken away.
    blocks: Vec<(String, String)>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    collect(top(), "md", &mut paths);
    let read = |path: &PathBuf| {
        Document::parse(path.strip_prefix(top()).unwrap(), &std::fs::read_to_string(path).expect("a document is text"))
    };
    let documents: Vec<Document> = paths.iter().map(read).collect();
    assert!(documents.len() > 20, "the tests were shown only {} documents", documents.len());
    documents
}

/// All files below a folder whose names end so.
pub fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && path != top().join("target") {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
}

impl Document {
    fn parse(path: &Path, text: &str) -> Document {
        let (mut prose, mut blocks, mut open) = (String::new(), Vec::new(), None::<(usize, String, String)>);
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(language)) => open = Some((indent, language.trim().to_owned(), String::new())),
                (None, None) => prose.extend([line, "\n"]),
                (Some((_, language, block)), Some("")) => {
                    blocks.push((std::mem::take(language), std::mem::take(block)));
                    open = None;
                }
                (Some((indent, _, block)), _) => block.extend([line.get(*indent..).unwrap_or_default(), "\n"]),
            }
        }
        assert!(open.is_none(), "{}: a block has no end", path.display());
        Document { path: path.to_owned(), prose, blocks }
    }

    /// What stands between single backticks.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Targets of links, without those that lead out of the project; what stands in backticks is no link.
    fn links(&self) -> impl Iterator<Item = String> {
        let uncoded = |line: &str| line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let lines = self.prose.lines().map(uncoded).collect::<Vec<_>>().join("\n");
        let targets = lines.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        let inner = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        inner.collect::<Vec<_>>().into_iter()
    }

    fn anchors(&self) -> BTreeSet<String> {
        self.prose.lines().filter_map(|line| line.strip_prefix('#')).map(anchor).collect()
    }
}

/// The anchor that a heading gets where Markdown is shown: lower case, spaces as hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.trim_start_matches('#').trim().chars().filter_map(kept).collect()
}

/// `docs/operating/../start.md` → `docs/start.md`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// Fails with all complaints at once.
#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn dead_links(documents: &[Document]) -> Vec<String> {
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        documents.iter().map(|document| (document.path.as_path(), document.anchors())).collect();
    let mut complaints = Vec::new();
    for document in documents {
        for link in document.links() {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.path.clone(),
                file => plain(&document.path.parent().unwrap().join(file)),
            };
            let known = anchors.get(target.as_path()).is_some_and(|known| known.contains(heading));
            let there = anchors.contains_key(target.as_path()) || top().join(&target).exists();
            if !there || !(heading.is_empty() || known) {
                complaints.push(format!("{}: {link} leads nowhere", document.path.display()));
            }
        }
    }
    complaints
}

#[test]
fn every_link_leads_somewhere() {
    none(dead_links(&documents()));
}

#[test]
fn a_dead_link_and_a_dead_heading_are_found() {
    let text = "# A title: b's\n[a](a.md#a-title-bs) [b](gone.md) [c](#gone) [d](../x.md) [e](https://example.com/x)\n";
    assert_eq!(dead_links(&[Document::parse(Path::new("a.md"), text)]).len(), 3);
}

/// `make x` in backticks or at the beginning of a line in a block.
fn targets(document: &Document) -> impl Iterator<Item = &str> {
    let lines = document.blocks.iter().flat_map(|(_, block)| block.lines());
    // A prefix of variables, as in `JUMPSTREAM_SEED=1 make test`.
    let command = |line: &str| line.split_whitespace().position(|word| !word.contains('=')).unwrap_or(0);
    document.code().chain(lines).filter_map(move |line| {
        let mut words = line.split_whitespace().skip(command(line));
        if words.next()? == "make" { words.next() } else { None }
    })
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = std::fs::read_to_string(top().join("Makefile")).unwrap();
    let documented = makefile.lines().filter(|line| line.contains(" ## "));
    let known: BTreeSet<&str> = documented.filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(known.contains("demo") && known.contains("clean"), "{known:?}");
    let documents = documents();
    let named: Vec<(&Path, &str)> = documents
        .iter()
        .flat_map(|document| targets(document).map(|target| (document.path.as_path(), target)))
        .collect();
    assert!(named.iter().any(|(path, target)| *path == Path::new("README.md") && *target == "demo"));
    let unknown = named.iter().filter(|(_, target)| !known.contains(target));
    none(unknown.map(|(path, target)| format!("{}: there is no make {target}", path.display())).collect());
}

/// The names behind `{env: …}`, which a configuration wants to be set.
fn environment(text: &str) -> Environment {
    let names = text.split("{env: ").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    names.map(|name| (name.to_owned(), "a secret".to_owned())).collect()
}

/// Every configuration that is shown whole, with the document's path.
pub fn configurations() -> Vec<(PathBuf, String)> {
    let shown = |document: Document| {
        let whole =
            document.blocks.into_iter().filter(|(language, block)| language == "yaml" && block.contains("accounts:"));
        whole.map(|(_, block)| (document.path.clone(), block)).collect::<Vec<_>>()
    };
    documents().into_iter().flat_map(shown).collect()
}

/// All values of the chart that are shown whole.
pub fn values() -> Vec<(PathBuf, String)> {
    let shown = |document: Document| {
        let whole = document.blocks.into_iter().filter(|(language, _)| language == "yaml title=values.yaml");
        whole.map(|(_, block)| (document.path.clone(), block)).collect::<Vec<_>>()
    };
    documents().into_iter().flat_map(shown).collect()
}

#[test]
fn every_configuration_that_is_shown_is_sound() {
    let mut complaints = Vec::new();
    let shown = configurations();
    for (path, block) in &shown {
        match Config::parse(&path.display().to_string(), block, &environment(block)) {
            Ok((_, warnings)) if warnings.is_empty() => {}
            Ok((_, warnings)) => complaints.push(format!("{}: {warnings:?}", path.display())),
            Err(faults) => complaints.push(faults.to_string()),
        }
    }
    assert!(shown.len() >= 5, "{} configurations", shown.len());
    none(complaints);
}

#[test]
fn every_metric_that_is_named_is_in_the_table() {
    let suffixes = |kind| if kind == Kind::Histogram { ["", "_bucket", "_sum", "_count"].as_slice() } else { &[""] };
    let known: BTreeSet<String> = TABLE
        .iter()
        .flat_map(|metric| suffixes(metric.kind).iter().map(move |suffix| format!("{}{suffix}", metric.name)))
        .collect();
    let (mut complaints, mut named) = (Vec::new(), 0);
    for document in documents() {
        let blocks = document.blocks.iter().map(|(_, block)| block.as_str());
        let words = blocks
            .chain([document.prose.as_str()])
            .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        for word in words.filter(|word| word.starts_with("jumpstream_")) {
            named += 1;
            if !known.contains(word) {
                complaints.push(format!("{}: there is no metric {word}", document.path.display()));
            }
        }
    }
    assert!(named > 20, "{named} names");
    none(complaints);
}

/// Every test by its whole name, `sink::file::a_full_disk_is_waited_for_without_half_a_line`.
fn tests() -> BTreeSet<String> {
    let folder = top().join("tests/it");
    let mut paths = Vec::new();
    collect(&folder, "rs", &mut paths);
    let mut found = BTreeSet::new();
    for path in &paths {
        let module = path.strip_prefix(&folder).unwrap().with_extension("").to_string_lossy().replace('/', "::");
        let text = std::fs::read_to_string(path).unwrap();
        let functions = text.lines().filter_map(|line| {
            let line = line.trim_start().trim_start_matches("async ");
            Some(line.strip_prefix("fn ")?.split_once('(')?.0.to_owned())
        });
        found.extend(functions.map(|name| format!("{module}::{name}")));
    }
    found
}

#[test]
fn every_test_that_is_named_exists() {
    let known = tests();
    assert!(known.contains("docs::every_test_that_is_named_exists"));
    let modules: BTreeSet<&str> = known.iter().filter_map(|name| Some(name.split_once("::")?.0)).collect();
    // A test's name is a claim, so it has underscores; code of the same shape, as `sink::Error`, has none.
    let is_test = |text: &str| {
        let lower = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':');
        let (first, last) = (text.split("::").next().unwrap_or_default(), text.rsplit("::").next().unwrap_or_default());
        lower && text.contains("::") && modules.contains(first) && last.contains('_')
    };
    let documents = documents();
    let named: Vec<(&Path, &str)> =
        documents.iter().flat_map(|document| document.code().map(|text| (document.path.as_path(), text))).collect();
    let named: Vec<_> = named.into_iter().filter(|(_, text)| is_test(text)).collect();
    assert!(named.len() > 20, "{named:?}");
    let unknown = named.iter().filter(|(_, name)| !known.contains(*name));
    none(unknown.map(|(path, name)| format!("{}: there is no test {name}", path.display())).collect());
}

#[test]
fn every_crash_of_the_delivery_table_has_a_test() {
    let page = documents().into_iter().find(|document| document.path.ends_with("concepts/delivery.md")).unwrap();
    let (mut shown, mut rows, mut untested) = (false, 0, Vec::new());
    for line in page.prose.lines().filter(|line| !line.starts_with("|---")) {
        let last = line.strip_suffix(" |").and_then(|line| line.rsplit_once("| ")).map_or("", |(_, last)| last);
        match (last, shown) {
            ("shown by", _) => shown = true,
            ("", _) => shown = false,
            (last, true) => {
                rows += 1;
                if !(last.starts_with('`') && last.contains("::")) {
                    untested.push(line.to_owned());
                }
            }
            _ => {}
        }
    }
    assert!(rows > 10, "{rows} rows");
    none(untested);
}

#[test]
fn every_dependency_has_its_reason_and_no_other() {
    let manifest = std::fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut wanted = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let ("[dependencies]" | "[dev-dependencies]" | "[build-dependencies]", Some((name, _))) =
            (section, line.split_once(" = "))
        {
            wanted.insert(name.to_owned());
        }
    }
    assert!(wanted.contains("tokio") && wanted.contains("insta"));
    let page = std::fs::read_to_string(top().join("docs/decisions/dependencies.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut named = BTreeSet::new();
    for (name, row) in rows {
        assert_eq!(
            row.matches('|').count(),
            3,
            "{name}: what it does, what else was looked at, what would make us leave it"
        );
        named.insert(name.to_owned());
    }
    assert_eq!(named, wanted, "docs/decisions/dependencies.md and Cargo.toml disagree");
}

#[test]
fn every_decision_is_in_the_list() {
    let list = std::fs::read_to_string(top().join("docs/decisions/README.md")).unwrap();
    let mut paths = Vec::new();
    collect(&top().join("docs/decisions"), "md", &mut paths);
    let names = paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    none(names.filter(|name| name != "README.md" && !list.contains(&format!("({name})"))).collect());
}

#[test]
fn every_source_file_that_is_named_exists() {
    let (mut complaints, mut named) = (Vec::new(), 0);
    for document in documents() {
        for text in document
            .code()
            .filter(|text| ["src/", "tests/", "docs/", "scripts/"].iter().any(|folder| text.starts_with(folder)))
        {
            // `src/sink/<name>.rs` stands for a file to come.
            if text.contains(['<', ' ', '*']) {
                continue;
            }
            named += 1;
            if !top().join(text).exists() {
                complaints.push(format!("{}: there is no {text}", document.path.display()));
            }
        }
    }
    assert!(named > 20, "{named} files");
    none(complaints);
}

#[test]
fn every_shell_block_parses_and_names_only_files_that_exist() {
    let (mut complaints, mut shown) = (Vec::new(), 0);
    for document in documents() {
        for (_, block) in document.blocks.iter().filter(|(language, _)| language == "sh") {
            shown += 1;
            let output = crate::tool::run(std::process::Command::new("bash").arg("-n"), block);
            if !output.status.success() {
                complaints.push(format!("{}: {}\n{block}", document.path.display(), crate::tool::said(&output)));
            }
            let ours =
                |word: &&str| ["charts/", "deploy/", "scripts/", "docs/"].iter().any(|folder| word.starts_with(folder));
            let words = block.split(|c: char| c.is_whitespace() || "'\"".contains(c)).filter(ours);
            let gone = words.filter(|word| !top().join(word).exists());
            complaints.extend(gone.map(|word| format!("{}: there is no {word}", document.path.display())));
        }
    }
    assert!(shown > 20, "{shown} blocks");
    none(complaints);
}
