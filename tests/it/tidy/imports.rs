//! No two files of a crate import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use super::files;

/// The folders whose files make a crate.
const CRATES: [&str; 10] = [
    "shared/credentials/src",
    "shared/json/src",
    "shared/onboarding/src",
    "shared/stripe/src",
    "shared/twilio/src",
    "shared/src",
    "ingress/src",
    "worker/src",
    "deploy/console/src",
    "deploy/jobrun/src",
];

/// The files of a crate by module path, such as `db::inbox`. The root is empty.
type Modules = BTreeMap<String, String>;

fn modules(folder: &str) -> Modules {
    let of_crate = files(&[".rs"]).into_iter().filter_map(|(name, text)| {
        let path = name.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path).replace('/', "::");
        Some((if path == "lib" || path == "main" { String::new() } else { path }, text))
    });
    of_crate.collect()
}

/// Splits at the commas that are in no braces.
fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Returns the paths that a `use` names: `a::{b, c::{self, d}}` names `a::b`, `a::c` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.trim().trim_end_matches("::self").to_owned()];
    };
    let list = rest.rsplit_once('}').unwrap().0;
    split(list).into_iter().flat_map(|part| paths(&format!("{head}{part}"))).collect()
}

/// Returns `path` from the root of the crate, if it is a path within the crate.
fn within_crate(module: &str, path: &str) -> Option<String> {
    if let Some(path) = path.strip_prefix("crate::") {
        return Some(path.to_owned());
    }
    let (mut base, mut rest) = (module, path);
    while let Some(after) = rest.strip_prefix("super::") {
        (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), after);
    }
    (rest != path).then(|| if base.is_empty() { rest.to_owned() } else { format!("{base}::{rest}") })
}

fn defines(text: &str, item: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "const", "static", "type", "trait"];
    let is_definition = |line: &str| {
        line.starts_with("pub")
            && kinds.iter().any(|kind| {
                line.split_once(&format!("{kind} {item}"))
                    .is_some_and(|(_, after)| !after.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            })
    };
    text.lines().any(is_definition)
}

/// Returns the module whose file defines what `path` names: the longest module that `path` begins with, or the child of it that
/// defines an item which it passes on.
fn definer(modules: &Modules, path: &str) -> String {
    let mut module = path.to_owned();
    while !module.is_empty() && !modules.contains_key(&module) {
        module = module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
    }
    let rest = path.strip_prefix(&module).unwrap().trim_start_matches("::");
    let item = rest.split("::").next().unwrap();
    let is_child = |name: &str| match name.rsplit_once("::") {
        Some((parent, _)) => parent == module,
        None => module.is_empty() && !name.is_empty(),
    };
    if item.is_empty() || defines(&modules[&module], item) {
        return module;
    }
    let child = modules.iter().find(|(name, text)| is_child(name) && defines(text, item));
    child.map_or(module, |(name, _)| name.clone())
}

fn imports(modules: &Modules, module: &str) -> BTreeSet<String> {
    let code = modules[module].split("\n#[cfg(test)]\nmod").next().unwrap();
    let uses = code.split("\nuse ").skip(1).filter_map(|rest| rest.split_once(';'));
    let named = uses.flat_map(|(tree, _)| paths(&tree.split_whitespace().collect::<Vec<_>>().join(" ")));
    let named = named.filter_map(|path| within_crate(module, &path));
    named.map(|path| definer(modules, &path)).filter(|it| it != module).collect()
}

/// Returns the modules that can be reached from `from` by imports.
fn reachable(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for import in &imports[&module] {
            if found.insert(import.clone()) {
                next.push(import.clone());
            }
        }
    }
    found
}

#[test]
fn imports_form_no_circle() {
    for folder in CRATES {
        let modules = modules(folder);
        assert!(!modules.is_empty(), "{folder} has files");
        let imports: BTreeMap<String, BTreeSet<String>> =
            modules.keys().map(|module| (module.clone(), imports(&modules, module))).collect();
        for module in modules.keys() {
            let circle: Vec<&String> =
                imports[module].iter().filter(|import| reachable(&imports, import).contains(module)).collect();
            assert!(circle.is_empty(), "{folder}: {module} and {circle:?} import each other");
        }
    }
}

#[test]
fn an_import_is_resolved_to_the_file_that_defines_it() {
    let texts = [
        ("", "//! Root.\n\nuse crate::a::Thing;\n"),
        ("a", "//! A folder.\n\nmod b;\n\npub use b::*;\n"),
        (
            "a::b",
            "//! A file.\n\nuse super::c::{self, Other, d::{deep, deeper}};\nuse std::fmt;\n\npub struct Thing;\n",
        ),
        ("a::c", "//! Another.\n\nuse crate::a::Thing;\n\npub enum Other {}\n"),
        ("a::c::d", "//! Below.\n\npub(crate) async fn deep() {}\n"),
    ];
    let modules: Modules = texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let of = |module: &str| imports(&modules, module).into_iter().collect::<Vec<_>>();
    assert_eq!((of(""), of("a")), (vec!["a::b".to_owned()], Vec::new()));
    assert_eq!(of("a::b"), ["a::c", "a::c::d"]);
    assert_eq!(of("a::c"), ["a::b"], "a circle");
}
