//! Checks the rules of ARCHITECTURE.md in the source: which file may import which, and what occurs
//! in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The levels, from the bottom. A file imports only from its own level and from those below.
const LEVELS: [&[&str]; 4] = [
    &[
        "body",
        "clock",
        "duration",
        "inner_accessors",
        "sharded",
        "sync",
    ],
    &[
        "algorithm",
        "caller_scope",
        "claim_path",
        "crypto",
        "decision",
        "error",
        "identity",
        "json",
        "manifest",
        "names",
        "origin",
        "client_address",
        "observe",
        "preflight",
        "policy_name",
        "protocol",
        "realm",
        "reason",
        "rejection",
        "route",
        "single_flight",
        "stage",
        "tenant",
        "words",
    ],
    &[], // folders, except the glue of the layers
    &["gate", "gated_service", "on_rejection", "respond"],
];

/// Folders that are layers. They never import each other.
const LAYERS: [&str; 5] = ["jwks", "jwt", "propagate", "rate_limit", "require"];

/// The one exception.
const EXCEPTION: (&str, &str) = ("jwt", "jwks");

/// The top, which may import everything.
const TOP: [&str; 4] = ["lib", "axum", "guide", "test_util"];

/// Files that make a service of the pure files of a layer's folder.
const GLUE: [&str; 2] = ["layer", "service"];

/// A file by its module path: `["jwt", "verify"]`.
type Module = Vec<String>;

#[test]
fn imports_run_down_only() {
    let violations = violations(&sources(Path::new("src")));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_rules_fail_on_a_bad_tree() {
    #[track_caller]
    fn check(file: &str, code: &str, forbidden: bool) {
        let mut tree = BTreeMap::from([
            ("jwks/mod.rs".to_owned(), "pub struct Key;".to_owned()),
            ("jwt/verify.rs".to_owned(), String::new()),
            ("gate.rs".to_owned(), String::new()),
        ]);
        tree.insert(file.to_owned(), code.to_owned());
        assert_eq!(!violations(&tree).is_empty(), forbidden, "{file}: {code}");
    }
    check("jwt/verify.rs", "use crate::jwks::Key;", false);
    check("require/rule.rs", "use crate::jwks::Key;", true);
    check("require/rule.rs", "fn f() { crate::jwks::Key; }", true);
    check("require/rule.rs", "fn f() { g(crate::jwks::Key) }", true);
    check("require/rule.rs", "use crate::{clock, jwks::{Key}};", true);
    check("require/rule.rs", "use super::super::jwks::Key;", true);
    check(
        "require/rule.rs",
        "mod inner { use super::super::super::jwks::Key; }",
        true,
    );
    check("require/rule.rs", "// crate::jwks::Key", false);
    check(
        "require/rule.rs",
        "const A: &str = \"crate::jwks::Key\";",
        false,
    );
    check(
        "require/rule.rs",
        "#[cfg(test)]\nmod tests { use crate::jwks::Key; }",
        false,
    );
    check("jwks/mod.rs", "use crate::jwt::Issuer;", true);
    check("jwt/a.rs", "use super::verify::B;", false);
    check("jwt/verify.rs", "use super::verify::inner::C;", false);
    check("rate_limit/gcra.rs", "use crate::gate::Gate;", true);
    check("rate_limit/service.rs", "use crate::gate::Gate;", false);
    check("rate_limit/gcra.rs", "use super::service::Gate;", true);
    check("rate_limit/gcra.rs", "use super::layer;", true);
    check("identity.rs", "use crate::respond::Protocol;", true);
    check("clock.rs", "use crate::error::ConfigError;", true);
    check("jwt/verify.rs", "use crate::JwksCache;", true);
    check(
        "jwt/verify.rs",
        "use crate::{clock::Clock, error::*};",
        false,
    );
}

#[test]
fn circles_inside_of_a_folder_are_found() {
    let tree = |a: &str, b: &str| {
        let file = |name: &str, code: &str| (name.to_owned(), code.to_owned());
        let main = "mod a;\nmod b;\npub use a::A;\nuse b::{B, C};";
        BTreeMap::from([
            file("jwt/mod.rs", main),
            file("jwt/a.rs", a),
            file("jwt/b.rs", b),
        ])
    };
    assert!(violations(&tree("use super::b::B;", "")).is_empty());
    assert!(!violations(&tree("use super::b::B;", "use super::a::A;")).is_empty());
    // Also through the names that the folder re-exports.
    assert!(!violations(&tree("use super::C;", "use crate::jwt::A;")).is_empty());
}

#[test]
fn no_file_is_too_long() {
    for root in ["src", "examples"] {
        for (file, code) in sources(Path::new(root)) {
            let lines = without_tests(&code).lines().count();
            assert!(
                lines <= 400,
                "{root}/{file}: {lines} lines without its tests: is it two ideas?"
            );
        }
    }
}

#[test]
fn restricted_code_occurs_in_one_place() {
    let places = [
        ("Instant::now(", "clock.rs"),
        ("SystemTime::now(", "clock.rs"),
        // Only the gate clones an inner service.
        ("inner.clone()", "gate.rs"),
        // Only one room emits metrics and events.
        ("metrics::", "observe/"),
        ("tracing::", "observe/"),
    ];
    for (file, code) in sources(Path::new("src")) {
        let code = bare(&without_tests(&code));
        for (text, place) in places {
            let is_elsewhere = code.contains(text) && !file.starts_with(place);
            assert!(!is_elsewhere, "{file}: `{text}` belongs into {place}");
        }
    }
}

/// Every file under `root` except tests, by its relative path.
fn sources(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if below.ends_with(".rs") && !below.ends_with("tests.rs") {
                files.insert(below, std::fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(!files.is_empty());
    files
}

fn violations(tree: &BTreeMap<String, String>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut arrows = BTreeMap::<Module, BTreeSet<Module>>::new();
    let mut files = BTreeMap::<Module, BTreeSet<Module>>::new();
    let exports = exports(tree);
    for (file, code) in tree {
        let module = module_of(file);
        for target in imports(&module, &bare(&without_tests(code))) {
            let file_of_target = file_of(&target, tree, &exports);
            if let Some(target) = file_of_target.filter(|target| *target != module) {
                files.entry(module.clone()).or_default().insert(target);
            }
            if let Some(problem) = problem(&module, &target) {
                violations.push(format!("src/{file}: {}: {problem}", target.join("::")));
            }
            let (from, to) = (module[..1].to_vec(), target[..1].to_vec());
            if from != to && !TOP.contains(&&*from[0]) {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    violations.extend(circles(&arrows));
    files.retain(|module, _| module.len() > 1);
    violations.extend(circles(&files));
    violations
}

/// One line for each module from which a chain of imports leads back to itself.
fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let mut circles = Vec::new();
    for start in arrows.keys() {
        let mut ways = BTreeMap::from([(start, vec![start])]);
        let mut next = vec![start];
        while let Some(module) = next.pop() {
            for target in arrows.get(module).into_iter().flatten() {
                if target == start {
                    let way = ways[module].iter().map(|module| module.join("::"));
                    circles.push(format!("circle: {}", way.collect::<Vec<_>>().join(" -> ")));
                    next.clear();
                    break;
                }
                if !ways.contains_key(target) {
                    let way = [&ways[module][..], &[target]].concat();
                    ways.insert(target, way);
                    next.push(target);
                }
            }
        }
    }
    circles
}

/// The names that the main file of a folder re-exports, with the file that defines each.
fn exports(tree: &BTreeMap<String, String>) -> BTreeMap<Module, Module> {
    let mut exports = BTreeMap::new();
    for (file, code) in tree {
        let module = module_of(file);
        let code = bare(&without_tests(code));
        let words = words(&code);
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "use") {
            let mut found = Vec::new();
            tails(&words, at + 1, &module, &mut found);
            for target in found
                .into_iter()
                .filter(|target| is_file(&target[..target.len() - 1], tree))
            {
                let name = [&module[..], &target[target.len() - 1..]].concat();
                exports.insert(name, target[..target.len() - 1].to_vec());
            }
        }
    }
    exports
}

fn is_file(module: &[String], tree: &BTreeMap<String, String>) -> bool {
    let path = module.join("/");
    tree.contains_key(&format!("{path}.rs")) || tree.contains_key(&format!("{path}/mod.rs"))
}

/// The file that defines the target of an import, if it is in a folder.
fn file_of(
    target: &Module,
    tree: &BTreeMap<String, String>,
    exports: &BTreeMap<Module, Module>,
) -> Option<Module> {
    for length in (1..=target.len()).rev() {
        let prefix = target[..length].to_vec();
        if let Some(file) = exports.get(&prefix) {
            return Some(file.clone());
        }
        if is_file(&prefix, tree) {
            return Some(prefix);
        }
    }
    None
}

fn problem(from: &Module, to: &Module) -> Option<&'static str> {
    let (from_room, to_room) = (from[0].as_str(), to[0].as_str());
    if TOP.contains(&from_room) {
        return None;
    }
    if to_room.starts_with(char::is_uppercase) || TOP.contains(&to_room) {
        return Some("import from the room, not from the roof");
    }
    if from_room == to_room {
        let to_glue = to[1..].iter().any(|file| GLUE.contains(&file.as_str()));
        return (level(from) == 2 && to_glue && LAYERS.contains(&from_room))
            .then_some("a pure file imports glue");
    }
    let both = LAYERS.contains(&from_room) && LAYERS.contains(&to_room);
    if both && (from_room, to_room) != EXCEPTION {
        return Some("layers never import each other");
    }
    (!both && level(from) < level(to)).then_some("an import from a higher level")
}

fn level(module: &Module) -> usize {
    let room = module[0].as_str();
    if let Some(level) = LEVELS.iter().position(|level| level.contains(&room)) {
        return level;
    }
    if TOP.contains(&room) {
        return 5;
    }
    let is_glue = |file: &String| GLUE.contains(&file.as_str());
    let glue = module.len() == 1 || module[1..].iter().any(is_glue);
    if LAYERS.contains(&room) && glue { 4 } else { 2 }
}

fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// Code without its test module, which is the last item.
fn without_tests(code: &str) -> String {
    let lines: Vec<&str> = code.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].starts_with("#[cfg(") && pair[0].contains("test") && pair[1].contains("mod tests")
    });
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// Code without comments and strings.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            let mut end = 1;
            let bytes = rest.as_bytes();
            while end < bytes.len() && bytes[end] != b'"' {
                end += 1 + usize::from(bytes[end] == b'\\');
            }
            (end + 1).min(rest.len())
        } else if rest.starts_with("'\"'") {
            3
        } else {
            bare.push(first);
            first.len_utf8()
        };
        rest = &rest[skip..];
    }
    bare
}

/// Every path that starts with `crate` or `super`, as a path from the root, with groups expanded.
fn imports(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    let mut here = module.clone();
    let mut depths = Vec::new();
    let mut depth = 0_usize;
    let words: Vec<&str> = words(code);
    let mut at = 0;
    while at < words.len() {
        match words[at] {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if depths.last() == Some(&depth) {
                    depths.pop();
                    here.pop();
                }
            }
            "mod" if words.get(at + 2) == Some(&"{") => {
                here.push(words[at + 1].to_owned());
                depths.push(depth);
                depth += 1;
                at += 2;
            }
            "crate" | "super" if words.get(at + 1) == Some(&"::") => {
                let mut base = if words[at] == "crate" {
                    Vec::new()
                } else {
                    parent(&here)
                };
                at += 2;
                while words.get(at) == Some(&"super") {
                    base = parent(&base);
                    at += 2;
                }
                at = tails(&words, at, &base, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found.retain(|path| !path.is_empty());
    found
}

fn parent(module: &Module) -> Module {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Reads the names or groups of names after `crate::`.
fn tails(words: &[&str], mut at: usize, base: &Module, found: &mut Vec<Module>) -> usize {
    let mut path = base.clone();
    loop {
        match words.get(at) {
            Some(&"{") => {
                at += 1;
                while !matches!(words.get(at), Some(&"}") | None) {
                    at = tails(words, at, &path, found);
                    at += usize::from(words.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                path.push((*word).to_owned());
            }
            _ => path.push("*".to_owned()),
        }
        at += 1;
        if words.get(at) != Some(&"::") {
            found.push(path);
            while words.get(at) == Some(&"as") {
                at += 2;
            }
            return at;
        }
        at += 1;
    }
}

fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = if rest.starts_with("::") {
            2
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}
